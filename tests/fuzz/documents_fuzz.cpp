// Text to be tokenised: the first byte chooses how it is cut into documents.
#include "tests/fuzz/fuzz.h"
#include "trainer/text_documents.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  if (input.empty()) return;
  const auto kind = static_cast<DocumentKind>(static_cast<unsigned char>(input[0]) % 3);
  const std::string text(input.substr(1));
  const std::size_t invalid = first_invalid_utf8(text);
  fuzz::expect(invalid == std::string::npos || invalid < text.size(), "invalid UTF-8 lies in the text");
  fuzz::expect(character_start(text, text.size() / 2) <= text.size(), "characters start in the text");
  std::size_t bytes = 0;
  fuzz::accepts([&] {
    for_each_document({"text.jsonl", "text.jsonl"}, text, kind, "text",
                      [&](std::string_view document) { bytes += document.size(); });
  });
  fuzz::expect(bytes <= text.size(), "documents are no longer than their source");
}

}  // namespace minichilla
