// metrics.jsonl of an attempt.
#include <cmath>

#include "tests/fuzz/fuzz.h"
#include "trainer/metrics_log.h"

namespace minichilla {
namespace {

/// Exactly, or nearly where the writer rounds; not-a-number is itself.
bool same(double a, double b, double tolerance = 0) {
  return a == b || std::isnan(a) == std::isnan(b) ? !(std::fabs(a - b) > tolerance) : false;
}

bool same(const MetricsRow& a, const MetricsRow& b) {
  return a.step == b.step && a.tokens == b.tokens && a.split == b.split && same(a.flops, b.flops) &&
         same(a.loss, b.loss) && same(a.lr, b.lr) && same(a.grad_norm, b.grad_norm) &&
         same(a.bits_per_byte, b.bits_per_byte);
}

}  // namespace

void fuzz_one(std::string_view input) {
  std::vector<MetricsRow> rows;
  if (!fuzz::accepts([&] { rows = parse_metrics(std::string(input), "metrics.jsonl"); })) return;
  for (const MetricsRow& row : rows) {
    const std::string line = metrics_line(row);
    fuzz::expect(same(parse_metrics_line(line, "metrics.jsonl:1"), row), "a row reads back as itself", line);
  }
}

}  // namespace minichilla
