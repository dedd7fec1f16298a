"""A CLIP tokenizer whose vocabulary is a list of words, each one token."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from scorefield.views import VIEWS
from scorefield.world import CATEGORIES, COLORS

WORDS = sorted(
    {*CATEGORIES, *COLORS, *" ".join(VIEWS).split()}
    | {"a", "an", "of", "photo", "flat", "icon", "white", "background"}
)
"""The words of the world's captions."""


def make_tokenizer(words: Sequence[str] = WORDS, length: int = 16) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format that keeps each of `words` whole.

    The byte symbols stay in the vocabulary, so that any text can be tokenized. `length` is the
    number of tokens of a padded prompt, start and end included.
    """
    symbols = _byte_symbols()
    merges = _merges(words)
    vocabulary = dict.fromkeys(symbols + [symbol + "</w>" for symbol in symbols])
    vocabulary.update(dict.fromkeys("".join(pair) for pair in merges))
    vocabulary.update(dict.fromkeys(["<|startoftext|>", "<|endoftext|>"]))
    with tempfile.TemporaryDirectory() as folder:
        numbered = {token: number for number, token in enumerate(vocabulary)}
        Path(folder, "vocab.json").write_text(json.dumps(numbered))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        Path(folder, "merges.txt").write_text("\n".join(lines) + "\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=length)


def _byte_symbols() -> list[str]:
    """The printable stand-ins for the 256 bytes that byte-level BPE uses (GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(stand_ins)) for b in range(256)]


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges learnt on the words until each is one symbol."""
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while any(len(word) > 1 for word in spelled):
        pairs = Counter(pair for word in spelled for pair in pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_apply(word, best) for word in spelled]
    return merges


def _apply(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            merged.append("".join(pair))
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged
