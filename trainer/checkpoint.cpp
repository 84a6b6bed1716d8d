#include "trainer/checkpoint.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <vector>

#include "kernels/error.h"
#include "model/safetensors.h"
#include "trainer/files.h"
#include "trainer/json_fields.h"
#include "trainer/run_directory.h"
#include "trainer/run_protocol.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr int kCheckpointFormat = 2;
constexpr std::size_t kKept = 2;
const char* const kTemporary = ".tmp-";
const char* const kModelFile = "model.safetensors";
const char* const kOptimizerFile = "optimizer.safetensors";
const char* const kStateFile = "state.json";
const char* const kMarker = "complete";
const std::array<const char*, 3> kFiles = {kModelFile, kOptimizerFile, kStateFile};

/// A checkpoint that cannot be used, though an older one might.
class BrokenCheckpoint : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A tensor of a file: a part of a flat array.
struct StoredTensor {
  FlatArray array;
  const ParameterTensor& part;
  std::string name;
};

std::vector<StoredTensor> tensors_of(const ParameterTable& table, const char* file) {
  std::vector<StoredTensor> tensors;
  const auto append = [&](FlatArray array, const char* prefix) {
    for (const ParameterTensor& part : table.tensors()) tensors.push_back({array, part, prefix + part.name});
  };
  if (std::string_view(file) == kModelFile) {
    append(FlatArray::weights, "");
  } else {
    append(FlatArray::first_moment, "first_moment.");
    append(FlatArray::second_moment, "second_moment.");
  }
  return tensors;
}

/// A file that replaces another when it is whole, written and hashed through a buffer of kFlatPiece floats.
class HashedFile {
 public:
  explicit HashedFile(const fs::path& path) : file_(path), buffer_(static_cast<std::size_t>(kFlatPiece)) {}

  /// `text` has a multiple of 4 bytes.
  void append(std::string_view text) {
    while (!text.empty()) {
      const std::span<float> room = take_room(text.size() / sizeof(float));
      std::memcpy(room.data(), text.data(), room.size_bytes());
      text.remove_prefix(room.size_bytes());
    }
  }
  void append(const FlatStore& arrays, const StoredTensor& tensor) {
    std::int64_t begin = tensor.part.offset;
    const std::int64_t end = begin + tensor.part.count();
    while (begin < end) {
      const std::span<float> room = take_room(static_cast<std::size_t>(end - begin));
      arrays.read(tensor.array, begin, room);
      begin += std::ssize(room);
    }
  }
  /// The file's SHA-256.
  std::string replace() {
    flush();
    file_.replace();
    return hash_.hex();
  }

 private:
  /// The next part of the buffer, of at most `wanted` floats.
  std::span<float> take_room(std::size_t wanted) {
    if (used_ == buffer_.size()) flush();
    const std::span<float> room =
        std::span(buffer_).subspan(used_).first(std::min(wanted, buffer_.size() - used_));
    used_ += room.size();
    return room;
  }
  void flush() {
    const std::span<const char> piece(reinterpret_cast<const char*>(buffer_.data()), used_ * sizeof(float));
    hash_.add(piece);
    file_.append({piece.data(), piece.size()});
    used_ = 0;
  }

  TemporaryFile file_;
  Sha256 hash_;
  std::vector<float> buffer_;
  std::size_t used_ = 0;
};

/// Writes `file` of a checkpoint's `folder`. Returns its SHA-256.
std::string write_tensors(const fs::path& folder, const char* file, const ParameterTable& table,
                          const std::map<std::string, std::string>& metadata, const FlatStore& arrays) {
  const std::vector<StoredTensor> tensors = tensors_of(table, file);
  std::vector<NamedShape> shapes;
  for (const StoredTensor& tensor : tensors) shapes.push_back({tensor.name, tensor.part.shape});
  HashedFile written(folder / file);
  written.append(safetensors_beginning(shapes, metadata));
  for (const StoredTensor& tensor : tensors) written.append(arrays, tensor);
  return written.replace();
}

/// A file whose tensors are all there, to be read from its map.
class TensorFile {
 public:
  /// BrokenCheckpoint when a tensor of the table is missing or has another shape.
  TensorFile(const fs::path& folder, const char* file, const ParameterTable& table)
      : map_(folder / file), tensors_(tensors_of(table, file)) {
    const std::string where = (folder / file).string();
    const SafetensorsFile parsed = parse_safetensors(map_.bytes(), where);
    for (const StoredTensor& tensor : tensors_) {
      const auto found = std::ranges::find(parsed.tensors, tensor.name, &NamedTensor::name);
      if (found == parsed.tensors.end())
        throw BrokenCheckpoint(where + ": tensor " + tensor.name + " is missing");
      if (found->shape != tensor.part.shape)
        throw BrokenCheckpoint(where + ": tensor " + tensor.name + " has another shape");
      values_.push_back(found->values);
    }
  }

  /// Padding is left as it is (zero).
  void copy_to(FlatStore& arrays) const {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      std::int64_t begin = tensors_[i].part.offset;
      for (std::span<const float> rest = values_[i]; !rest.empty();) {
        const auto piece = rest.first(std::min(rest.size(), static_cast<std::size_t>(kFlatPiece)));
        arrays.write(tensors_[i].array, begin, piece);
        map_.forget();
        begin += std::ssize(piece);
        rest = rest.subspan(piece.size());
      }
    }
  }

 private:
  MappedFile map_;
  std::vector<StoredTensor> tensors_;
  std::vector<std::span<const float>> values_;  ///< of each, in the map
};

std::string state_json(const CheckpointState& state) {
  nlohmann::ordered_json json = {{"format", kCheckpointFormat},
                                 {"step", state.step},
                                 {"sequences", state.sequences},
                                 {"tail_loss_sum", state.tail_loss_sum},
                                 {"val_loss", finite_or_null(state.val_loss)},
                                 {"val_bits_per_byte", finite_or_null(state.val_bits_per_byte)},
                                 {"val_step", state.val_step},
                                 {"wall_s", state.wall_s},
                                 {"train_s", state.train_s},
                                 {"config_hash", state.config_hash},
                                 {"corpus_hash", state.corpus_hash},
                                 {"tokenizer", state.tokenizer},
                                 {"numerics_id", state.numerics_id},
                                 {"version", MINICHILLA_VERSION}};
  if (state.attempt) json["attempt"] = *state.attempt;
  return json.dump(2) + "\n";
}

CheckpointState parse_state(const std::string& text, const std::string& where) {
  const nlohmann::json json = parse_json_object(text, where);
  const std::int64_t format = json_whole(json, "format", where);
  if (format != kCheckpointFormat) {
    throw InputError(where + ": format: found " + std::to_string(format) + ", expected " +
                     std::to_string(kCheckpointFormat) + " (written by another version of minichilla)");
  }
  CheckpointState state;
  state.step = json_whole(json, "step", where);
  state.sequences = json_whole(json, "sequences", where);
  state.tail_loss_sum = json_number(json, "tail_loss_sum", where);
  state.val_loss = json_number(json, "val_loss", where);
  state.val_bits_per_byte = json_number(json, "val_bits_per_byte", where);
  state.val_step = json_whole(json, "val_step", where);
  state.wall_s = json_number(json, "wall_s", where);
  state.train_s = json_number(json, "train_s", where);
  state.config_hash = json_text(json, "config_hash", where);
  state.corpus_hash = json_text(json, "corpus_hash", where);
  state.tokenizer = json_text(json, "tokenizer", where);
  state.numerics_id = json_text(json, "numerics_id", where);
  if (json.contains("attempt")) state.attempt = json_whole(json, "attempt", where);
  return state;
}

/// A checkpoint goes on only with the text and the config that it was made with.
void check_origin(const fs::path& folder, const CheckpointState& found, const CheckpointState& expected) {
  const auto check = [&](const char* what, const std::string& ours, const std::string& theirs,
                         const char* way_out) {
    if (ours == theirs) return;
    throw InputError(folder.string() + ": found a checkpoint " + what + theirs + ", expected " + ours +
                     ": give " + way_out + ", or another --output");
  };
  check("with tokenizer ", expected.tokenizer, found.tokenizer, "a corpus with that tokenizer");
  check("trained on corpus ", expected.corpus_hash.substr(0, 12), found.corpus_hash.substr(0, 12),
        "the same corpus");
  check("of config ", expected.config_hash.substr(0, 12), found.config_hash.substr(0, 12), "the same config");
}

/// A line of the marker, in the form that sha256sum prints and checks.
std::string marker_line(const std::string& sha256, const char* file) {
  return sha256 + "  " + file + "\n";
}

void verify(const fs::path& folder) {
  const fs::path marker = folder / kMarker;
  if (!path_exists(marker)) throw BrokenCheckpoint(folder.string() + ": was never completed");
  std::string expected;
  for (const char* name : kFiles) {
    if (!path_exists(folder / name)) throw BrokenCheckpoint((folder / name).string() + ": missing");
    expected += marker_line(file_sha256(folder / name), name);
  }
  if (read_file(marker) != expected) throw BrokenCheckpoint(folder.string() + ": a checksum does not match");
}

void remove_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) throw IoError(folder.string() + ": cannot remove: " + error.message());
}

}  // namespace

std::string checkpoint_fault(const fs::path& folder) {
  try {
    verify(folder);
    return "";
  } catch (const std::runtime_error& error) {  // BrokenCheckpoint, or IoError for a file that is not there
    return error.what();
  }
}

/// checkpoints/ as run_protocol.h sees it.
class Checkpoints::Folder final : public CheckpointFiles {
 public:
  /// `prepared`: the temporary folder that place() renames.
  explicit Folder(const fs::path& folder, fs::path prepared = {}, std::string config_hash = {})
      : folder_(folder), prepared_(std::move(prepared)), config_hash_(std::move(config_hash)) {}

  std::vector<std::int64_t> steps() override { return numbered_folders(folder_); }
  bool is_complete(std::int64_t step) override { return path_exists(of(step) / kMarker); }
  bool is_whole(std::int64_t step) override {
    if (!checkpoint_fault(of(step)).empty()) return false;
    const fs::path file = of(step) / kStateFile;
    return parse_state(read_file(file), file.string()).config_hash == config_hash_;
  }
  bool place(std::int64_t step) override {
    if (rename(prepared_.c_str(), of(step).c_str()) == 0) return true;
    if (errno != EEXIST && errno != ENOTEMPTY) throw_io(of(step), "create");
    return false;
  }
  void remove(std::int64_t step) override { remove_folder(of(step)); }

 private:
  fs::path of(std::int64_t step) const { return folder_ / std::to_string(step); }

  fs::path folder_, prepared_;
  std::string config_hash_;
};

Checkpoints::Checkpoints(const fs::path& run, const ParameterTable& table)
    : folder_(run / "checkpoints"), table_(table) {}

void Checkpoints::save(const CheckpointState& state, const FlatStore& arrays) {
  const std::string number = std::to_string(state.step);
  // Named by the attempt, which no other process has.
  const fs::path temporary =
      folder_ / (kTemporary + number + "-" + std::to_string(state.attempt.value_or(0)));
  const std::map<std::string, std::string> metadata = {{"step", number}, {"config_hash", state.config_hash}};
  const std::string state_text = state_json(state);
  create_synced_folder(folder_);
  remove_folder(temporary);
  try {
    create_synced_folder(temporary);
    std::string marker;
    for (const char* file : {kModelFile, kOptimizerFile})
      marker += marker_line(write_tensors(temporary, file, table_, metadata, arrays), file);
    replace_file(temporary / kStateFile, state_text);
    marker += marker_line(sha256_hex(state_text), kStateFile);
    replace_file(temporary / kMarker, marker);
    Folder folder(folder_, temporary, state.config_hash);
    place_checkpoint(folder, state.step);
  } catch (const IoError&) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  sync_folder(folder_);
  broken_.erase(state.step);  // what load() passed over has been replaced
  prune(kKept);
  remove_temporaries(state.attempt.value_or(0));
}

void Checkpoints::prune(std::size_t kept) const {
  Folder folder(folder_);
  prune_checkpoints(folder, broken_, kept);
}

/// Those of this attempt and earlier ones: a later one may be at work on its own.
void Checkpoints::remove_temporaries(std::int64_t attempt) const {
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kTemporary)) continue;
    if (std::atoll(name.substr(name.rfind('-') + 1).c_str()) <= attempt) remove_folder(entry->path());
  }
}

CheckpointState Checkpoints::load_one(const fs::path& folder, const CheckpointState& expected,
                                      FlatStore& arrays) const {
  verify(folder);
  const fs::path state_path = folder / kStateFile;
  const CheckpointState state = parse_state(read_file(state_path), state_path.string());
  if (abandoned_.contains(state.config_hash))
    throw BrokenCheckpoint(folder.string() + ": is of the learning rate that diverged");
  check_origin(folder, state, expected);
  const TensorFile model(folder, kModelFile, table_), optimizer(folder, kOptimizerFile, table_);
  model.copy_to(arrays);  // both were looked at: nothing stops halfway
  optimizer.copy_to(arrays);
  return state;
}

CheckpointState Checkpoints::load_from(const fs::path& folder, const CheckpointState& expected,
                                       FlatStore& arrays) const {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    throw InputError(folder.string() +
                     ": found no such folder, expected a checkpoint such as RUN/checkpoints/100");
  }
  try {
    return load_one(folder, expected, arrays);
  } catch (const BrokenCheckpoint& broken) {
    throw InputError(broken.what());
  }
}

std::optional<CheckpointState> Checkpoints::load(const CheckpointState& expected, FlatStore& arrays,
                                                 const Warn& warn) {
  const std::vector<std::int64_t> steps = numbered_folders(folder_);
  std::optional<IoError> unreadable;
  const auto pass_over = [&](std::int64_t step, const std::exception& error) {
    broken_.insert(step);
    warn(std::string(error.what()) + "; looking for an older checkpoint");
  };
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      return load_one(folder_ / std::to_string(*step), expected, arrays);
    } catch (const BrokenCheckpoint& error) {
      pass_over(*step, error);
    } catch (const IoError& error) {
      pass_over(*step, error);
      unreadable = error;
    }
  }
  if (unreadable) throw *unreadable;  // it may be readable again; beginning anew would give the work up
  return std::nullopt;
}

}  // namespace minichilla
