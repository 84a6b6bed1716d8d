// Text to token ids and back.
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
  /// "bytes"; recorded in the corpus manifest.
  virtual std::string name() const = 0;
  /// Number of token ids, the end-of-document token included.
  virtual int vocabulary() const = 0;
  virtual std::int32_t end_of_document() const = 0;
  /// Appends the ids of `text` (no end-of-document).
  virtual void encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
  /// The bytes of `ids`; end-of-document gives none. InputError for an id outside the vocabulary.
  virtual std::string decode(const std::vector<std::int32_t>& ids) const = 0;
};

/// Ids 0 … 255 are the bytes, 256 ends a document: V = 257.
std::unique_ptr<Tokenizer> make_bytes_tokenizer();

/// The tokenizer of a corpus by its name in the manifest. InputError for an unknown one, starting with
/// `where`.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, const std::string& where);

}  // namespace minichilla
