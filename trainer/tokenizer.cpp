#include "trainer/tokenizer.h"

#include "kernels/error.h"
#include "model/quote.h"

namespace minichilla {
namespace {

constexpr std::int32_t kBytes = 256;

class BytesTokenizer : public Tokenizer {
 public:
  std::string name() const override { return "bytes"; }
  int vocabulary() const override { return kBytes + 1; }
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

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, const std::string& where) {
  if (name == "bytes") return make_bytes_tokenizer();
  throw InputError(where + ": found tokenizer " + quote(name) + ", expected 'bytes'");
}

}  // namespace minichilla
