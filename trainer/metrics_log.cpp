#include "trainer/metrics_log.h"

#include <cmath>
#include <utility>

#include "kernels/error.h"
#include "trainer/json_fields.h"

namespace minichilla {
namespace {

constexpr auto kFlushInterval = std::chrono::seconds(1);

/// Times and rates need no more than this; fewer digits keep the file small.
double rounded(double value, double unit) {
  return std::round(value * unit) / unit;
}

}  // namespace

std::string metrics_line(const MetricsRow& row) {
  nlohmann::ordered_json line = {{"step", row.step}, {"tokens", row.tokens}, {"flops", row.flops}};
  if (!row.split.empty()) line["split"] = row.split;
  line["loss"] = finite_or_null(row.loss);
  if (row.split.empty()) {
    line["lr"] = row.lr;
    line["grad_norm"] = finite_or_null(row.grad_norm);
    line["tokens_per_s"] = rounded(row.tokens_per_s, 10);
  } else {
    line["bits_per_byte"] = finite_or_null(row.bits_per_byte);
    if (std::isfinite(row.midway_loss)) line["midway_loss"] = row.midway_loss;
  }
  line["wall_s"] = rounded(row.wall_s, 1000);
  return line.dump();
}

MetricsRow parse_metrics_line(const std::string& line, const std::string& where) {
  const nlohmann::json object = parse_json_object(line, where);
  MetricsRow row;
  row.step = json_whole(object, "step", where);
  row.tokens = json_whole(object, "tokens", where);
  row.flops = json_number(object, "flops", where);
  row.loss = json_number(object, "loss", where);
  row.wall_s = json_number(object, "wall_s", where);
  if (object.contains("split")) {
    row.split = json_text(object, "split", where);
    if (row.split.empty()) throw InputError(where + ": split: found nothing, expected the name of a split");
    row.bits_per_byte = json_number(object, "bits_per_byte", where);
    if (object.contains("midway_loss")) row.midway_loss = json_number(object, "midway_loss", where);
  } else {
    row.lr = json_number(object, "lr", where);
    row.grad_norm = json_number(object, "grad_norm", where);
    row.tokens_per_s = json_number(object, "tokens_per_s", where);
  }
  return row;
}

MetricsLog::MetricsLog(std::filesystem::path file)
    : file_(std::move(file)), last_flush_(std::chrono::steady_clock::now()) {}

MetricsLog::~MetricsLog() {
  try {
    flush();
  } catch (const IoError&) {
    // Whoever needs to know has called flush() or sync() before.
  }
}

void MetricsLog::append(const MetricsRow& row) {
  pending_ += metrics_line(row);
  pending_ += '\n';
  if (std::chrono::steady_clock::now() - last_flush_ >= kFlushInterval) flush();
}

void MetricsLog::flush() {
  last_flush_ = std::chrono::steady_clock::now();
  file_.append(pending_);
  pending_.clear();
}

void MetricsLog::sync() {
  flush();
  file_.sync();
}

}  // namespace minichilla
