// A token shard: the first byte chooses a vocabulary, the rest is the file.
#include <algorithm>
#include <array>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "trainer/token_shard.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  static const fuzz::Scratch scratch;
  static constexpr std::array<int, 3> kVocabularies = {257, 65536, 70000};
  if (input.empty()) return;
  const int vocabulary = kVocabularies[static_cast<unsigned char>(input[0]) % kVocabularies.size()];
  scratch.write("shard", input.substr(1));
  const std::filesystem::path path = scratch.path() / "shard";
  may_be_token_shard(path);
  fuzz::accepts([&] {
    const TokenShard shard(path, vocabulary);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(shard.tokens()));
    shard.read(0, shard.tokens(), ids.data());
    const auto valid = [&](std::int32_t id) { return id >= 0 && id < vocabulary; };
    fuzz::expect(std::all_of(ids.begin(), ids.end(), valid), "no id outside the vocabulary leaves a shard");
    std::vector<char> stored;
    store_ids(ids, vocabulary, stored);
    fuzz::expect(std::equal(stored.begin(), stored.end(), shard.stored().begin(), shard.stored().end()),
                 "ids are stored as they were");
  });
}

}  // namespace minichilla
