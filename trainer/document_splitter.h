// Which split each part of each document belongs to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "trainer/corpus_manifest.h"

namespace minichilla {

/// Train, val and test, in the order of kSplitNames.
constexpr std::size_t kTrainSplit = 0, kSplits = 3;

/// Walked once over all documents, in order; a second one walked in the same way decides the same.
class DocumentSplitter {
 public:
  /// `text_bytes`: bytes in all documents together; used when options.split is "position".
  DocumentSplitter(const CorpusOptions& options, std::int64_t text_bytes);

  struct Part {
    std::size_t split;  ///< 0 … kSplits − 1
    std::string_view text;
    bool ends_document;
  };
  /// The parts of the next document, in order. By hash: one part, chosen by the document's bytes, so that
  /// equal documents fall on one side. By position: the first floor((1 − val − test) · text_bytes) bytes of
  /// all documents are train, then come val and test; a document across a cut has a part on each side, and a
  /// cut inside a UTF-8 character moves to the character's end.
  void split(std::string_view document, const std::function<void(const Part&)>& use);

 private:
  std::size_t split_of_hash(std::string_view text) const;
  void split_by_position(std::string_view document, const std::function<void(const Part&)>& use);

  double val_, test_;
  bool by_position_;
  std::array<std::int64_t, kSplits> ends_{};  ///< of the splits, in bytes of text; by position only
  std::int64_t offset_ = 0;                   ///< bytes of text so far
};

}  // namespace minichilla
