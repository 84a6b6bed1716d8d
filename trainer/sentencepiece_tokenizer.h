// Subword tokens by SentencePiece (Kudo and Richardson 2018), made lossless.
//
// The library writes a space as U+2581 inside its pieces, so it cannot tell a U+2581 of the text from a
// space, and it turns bytes that are no UTF-8 into U+FFFD. Both are kept from it here: they become byte
// pieces, which every model with byte_fallback has. Everything else it returns unchanged, since nothing is
// normalised.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/tokenizer.h"

namespace minichilla {

struct SentencePieceSettings {
  std::string model = "bpe";  ///< "bpe" or "unigram"
  int vocabulary = 1024;      ///< token ids in all: 256 bytes, the end of a document, <unk>, and the pieces
};

/// The smallest vocabulary: 256 bytes, the end of a document, <unk>, and a piece.
inline constexpr int kSmallestSentencePieceVocabulary = 259;

/// Learns a model from lines of text and returns it as the library stores it; the same lines give the same
/// bytes on every machine. InputError when the text has too few different characters or pieces for the
/// vocabulary, or too many.
std::string train_sentencepiece(const SentencePieceSettings& settings, std::vector<std::string> lines);

/// `model` as train_sentencepiece() returned it. InputError "WHERE: …" when it is no such model (other
/// normalisation, no byte pieces, no end of document).
std::unique_ptr<Tokenizer> load_sentencepiece(std::string_view model, const std::string& where);

}  // namespace minichilla
