// Text to token ids and back, byte for byte: decode(encode(x)) is x for any bytes at all.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace minichilla {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Number of token ids, the end-of-document token included.
  virtual int vocabulary() const = 0;
  virtual std::int32_t end_of_document() const = 0;
  /// Appends the ids of `text` (no end-of-document). May be called from any thread.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
  /// The bytes of `ids`; end-of-document gives none. InputError for an id outside the vocabulary.
  virtual std::string decode(const std::vector<std::int32_t>& ids) const = 0;
};

inline constexpr int kBytesVocabulary = 257;

/// Ids 0 … 255 are the bytes, 256 ends a document.
std::unique_ptr<Tokenizer> make_bytes_tokenizer();

}  // namespace minichilla
