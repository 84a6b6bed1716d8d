"""Text with a language model's statistics but without a source: words of random syllables, drawn by Zipf's law."""

import itertools
import random

CONSONANTS = "b c d f g h k l m n p r s t v w z st tr pl".split()
ENDS = ("", "n", "r", "s")
DISTINCT_WORDS = 60_000  # enough for a subword vocabulary of fifty thousand
WORDS_A_PARAGRAPH = 80


def write_text(path, size, seed=1):
    """Writes at least `size` bytes of paragraphs to `path`."""
    generator = random.Random(seed)
    syllables = [first + vowel + end for first in CONSONANTS for vowel in "aeiou" for end in ENDS]
    words = set()
    while len(words) < DISTINCT_WORDS:
        words.add("".join(generator.choices(syllables, k=generator.choice((1, 2, 2, 3)))))
    ranked = sorted(words)
    generator.shuffle(ranked)
    weights = list(itertools.accumulate(1 / (rank + 20) for rank in range(len(ranked))))
    written = 0
    with open(path, "w", encoding="ascii") as text:
        while written < size:
            drawn = generator.choices(ranked, cum_weights=weights, k=WORDS_A_PARAGRAPH)
            written += text.write(" ".join(drawn).capitalize() + ".\n\n")
