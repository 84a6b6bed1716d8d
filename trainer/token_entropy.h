// What a corpus can be predicted with by counting alone: the losses that a model has to beat.
#pragma once

#include "trainer/corpus.h"

namespace minichilla {

/// Entropies of a split under its own frequencies (maximum likelihood), in nats per token.
struct TokenEntropy {
  double unigram;  ///< −Σ p(t) ln p(t): the loss of the best prediction that sees no context
  /// −Σ p(s, t) ln p(t | s) over neighbouring tokens: of the best prediction that sees one token. Counting on
  /// the split itself makes it too low when the split is small against the number of pairs that occur.
  double bigram;
};

/// Reads the split once; memory grows with the number of different pairs. NaN for a bigram entropy of a
/// single token.
TokenEntropy measure_entropy(const TokenSplit& split, int vocabulary);

}  // namespace minichilla
