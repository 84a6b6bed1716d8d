// The tokenizer that a corpus was made with.
#pragma once

#include <filesystem>
#include <memory>

#include "trainer/corpus_manifest.h"
#include "trainer/tokenizer.h"

namespace minichilla {

/// The tokenizer of the corpus in `folder`. InputError when its model is missing or is not the manifest's.
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& folder, const CorpusManifest& manifest);

}  // namespace minichilla
