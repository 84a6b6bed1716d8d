#include "trainer/tokenizer.h"

#include "kernels/error.h"

namespace minichilla {
namespace {

constexpr std::int32_t kBytes = kBytesVocabulary - 1;

class BytesTokenizer : public Tokenizer {
 public:
  int vocabulary() const override { return kBytesVocabulary; }
  std::int32_t end_of_document() const override { return kBytes; }

  void encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    const std::size_t begin = ids.size();
    ids.resize(begin + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[begin + i] = static_cast<unsigned char>(text[i]);
  }

  std::string decode(const std::vector<std::int32_t>& ids) const override {
    std::string text;
    text.reserve(ids.size());
    for (const std::int32_t id : ids) {
      if (id < 0 || id > kBytes) {
        throw InputError("bytes tokenizer: found token id " + std::to_string(id) + ", expected 0 to " +
                         std::to_string(kBytes));
      }
      if (id < kBytes) text += static_cast<char>(id);
    }
    return text;
  }
};

}  // namespace

std::unique_ptr<Tokenizer> make_bytes_tokenizer() {
  return std::make_unique<BytesTokenizer>();
}

}  // namespace minichilla
