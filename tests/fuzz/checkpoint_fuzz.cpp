// A checkpoint whose checksums agree: the first byte chooses the file that the rest replaces.
#include <array>

#include "model/config.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sample_checkpoint.h"
#include "tests/trainer/flat_arrays.h"
#include "trainer/checkpoint.h"

namespace minichilla {
namespace {

constexpr std::array<const char*, 4> kFiles = {"model.safetensors", "optimizer.safetensors", "state.json",
                                               "complete"};

/// A run with one checkpoint, the good files of which are kept in memory.
struct Sample {
  fuzz::Scratch scratch;
  ParameterTable table = fuzz::sample_table();
  std::filesystem::path folder = std::filesystem::path("checkpoints") / "7";
  std::array<std::string, kFiles.size()> good;

  Sample() {
    fuzz::save_sample_checkpoint(scratch.path(), table);
    for (std::size_t i = 0; i < kFiles.size(); ++i) good[i] = read_file(scratch.path() / folder / kFiles[i]);
  }
};

}  // namespace

void fuzz_one(std::string_view input) {
  static const Sample sample;
  if (input.empty()) return;
  const std::size_t chosen = static_cast<unsigned char>(input[0]) % kFiles.size();
  std::array<std::string, kFiles.size()> files = sample.good;
  files[chosen] = input.substr(1);
  if (chosen < 3) {
    files[3].clear();
    for (std::size_t i = 0; i < 3; ++i) files[3] += sha256_hex(files[i]) + "  " + kFiles[i] + "\n";
  }
  for (const std::size_t changed : {chosen, std::size_t{3}}) {
    sample.scratch.write(sample.folder / kFiles[changed], files[changed]);
  }

  FlatArrays arrays(sample.table);
  Checkpoints checkpoints(sample.scratch.path(), sample.table);
  fuzz::accepts([&] {
    const auto state = checkpoints.load(fuzz::sample_origin(), arrays, fuzz::expect_one_line);
    if (!state) return;
    fuzz::expect(state->step >= 0 && state->sequences >= 0 && state->val_step >= 0,
                 "counts are not negative");
  });
  sample.scratch.write(sample.folder / kFiles[chosen], sample.good[chosen]);
}

}  // namespace minichilla
