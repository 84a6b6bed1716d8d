// manifest.json of a corpus.
#include "tests/fuzz/fuzz.h"
#include "trainer/corpus_manifest.h"

namespace minichilla {

void fuzz_one(std::string_view input) {
  CorpusManifest manifest;
  const std::string file = "corpus/manifest.json";
  if (!fuzz::accepts([&] { manifest = parse_manifest(std::string(input), file); })) return;
  const std::string written = manifest_text(manifest);
  fuzz::expect(manifest_text(parse_manifest(written, file)) == written, "a manifest reads back as itself",
               written);
}

}  // namespace minichilla
