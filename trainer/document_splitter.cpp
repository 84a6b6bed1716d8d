#include "trainer/document_splitter.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "trainer/files.h"
#include "trainer/text_documents.h"

namespace minichilla {

DocumentSplitter::DocumentSplitter(const CorpusOptions& options, std::int64_t text_bytes)
    : val_(options.val), test_(options.test), by_position_(options.split == "position") {
  const auto cut = [&](double fraction) {
    // 1 − 0.05 − 0.05 is a little less than 0.9: a millionth of a byte makes up for it.
    return static_cast<std::int64_t>(std::floor(static_cast<double>(text_bytes) * fraction + 1e-6));
  };
  ends_ = {cut(1 - val_ - test_), cut(1 - test_), text_bytes};
}

void DocumentSplitter::split(std::string_view document, const std::function<void(const Part&)>& use) {
  if (by_position_) return split_by_position(document, use);
  use({split_of_hash(document), document, true});
}

std::size_t DocumentSplitter::split_of_hash(std::string_view text) const {
  if (val_ == 0 && test_ == 0) return kTrainSplit;
  const std::uint64_t prefix = std::strtoull(sha256_hex(text).substr(0, 13).c_str(), nullptr, 16);
  const double uniform = static_cast<double>(prefix) / 0x1p52;
  return uniform < val_ ? 1 : uniform < val_ + test_ ? 2 : kTrainSplit;
}

void DocumentSplitter::split_by_position(std::string_view document,
                                         const std::function<void(const Part&)>& use) {
  const auto size = static_cast<std::int64_t>(document.size());
  std::size_t begin = 0;
  for (std::size_t i = 0; i < kSplits; ++i) {
    const std::int64_t inside = std::clamp<std::int64_t>(ends_[i] - offset_, 0, size);
    const std::size_t end = std::max(begin, character_start(document, static_cast<std::size_t>(inside)));
    if (end == begin) continue;
    use({i, document.substr(begin, end - begin), end == document.size()});
    begin = end;
  }
  offset_ += size;
}

}  // namespace minichilla
