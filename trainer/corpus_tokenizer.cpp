#include "trainer/corpus_tokenizer.h"

#include "kernels/error.h"
#include "trainer/files.h"
#include "trainer/sentencepiece_tokenizer.h"

namespace minichilla {

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& folder,
                                          const CorpusManifest& manifest) {
  if (!manifest.tokenizer_model) return make_bytes_tokenizer();
  const std::filesystem::path path = folder / kTokenizerModelFile;
  if (!path_exists(path)) {
    throw InputError(path.string() + ": found no such file, expected the tokenizer that manifest.json names");
  }
  const std::string model = read_file(path);
  if (const std::string found = sha256_hex(model); found != manifest.tokenizer_model->sha256) {
    throw InputError(path.string() + ": found SHA-256 " + found + ", expected " +
                     manifest.tokenizer_model->sha256 +
                     " as manifest.json says: the file is damaged or of another corpus");
  }
  std::unique_ptr<Tokenizer> tokenizer = load_sentencepiece(model, path.string());
  if (tokenizer->vocabulary() != manifest.vocabulary) {
    throw InputError(path.string() + ": found a vocabulary of " + std::to_string(tokenizer->vocabulary()) +
                     ", expected " + std::to_string(manifest.vocabulary) + " as manifest.json says");
  }
  return tokenizer;
}

}  // namespace minichilla
