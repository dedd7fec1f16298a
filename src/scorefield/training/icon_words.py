"""Words near in meaning to the concepts of `icons`, for prompts that name something else."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scorefield.training.icon_concepts import Concept
from scorefield.training.icons import CONCRETE_GROUPS, fetch_package, read_emoji

__all__ = ["related_words"]

KEYWORDS_PACKAGE = "emojilib@4.0.3"
"""English keywords of all emoji (MIT), which join those of emojibase."""

_NAMED = 3  # concepts for each word
_SHARE = 0.6  # of the best concept's similarity, which the others must have
_LEAST = 0.1  # similarity


def related_words(concepts: Sequence[Concept], packages: Path) -> dict[str, list[str]]:
    """For each word of a concrete thing that is no concept's name: the concepts nearest to it.

    A thing is what emojibase and emojilib call it, their keywords, and its group; two things are
    as similar as the cosine of their words, rare ones counting more (inverse document frequency).
    A word's concepts are those most similar to the things that it is said of.

    Raises:
        ValueError: npm is not installed or a package cannot be had.
    """
    emoji, _ = read_emoji(packages)
    path = fetch_package(KEYWORDS_PACKAGE, packages) / "dist" / "emoji-en-US.json"
    keywords = json.loads(path.read_text("utf-8"))
    labels = {concept.label: concept.name for concept in concepts}
    things = {
        label: _words(entry, keywords)
        for label, entry in emoji.items()
        if entry.get("group") in CONCRETE_GROUPS or label in labels
    }
    similar = _similarities(things, labels)
    said_of: dict[str, list[str]] = {}
    for label, words in things.items():
        for word in words:
            said_of.setdefault(word, []).append(label)
    named = {word for c in concepts for word in (*c.name.split(), *c.synonyms)}
    related = {}
    for word in sorted(said_of.keys() - named):
        total = {
            name: sum(similar[label][name] for label in said_of[word]) for name in labels.values()
        }
        best = sorted(total.items(), key=lambda item: -item[1])[:_NAMED]
        least = max(_LEAST * len(said_of[word]), _SHARE * best[0][1])
        if word.isalpha() and best[0][1] >= least:
            related[word] = [name for name, similarity in best if similarity >= least]
    return related


def _words(entry: Mapping[str, Any], keywords: Mapping[str, Sequence[str]]) -> frozenset[str]:
    texts = [entry["label"], *entry.get("tags", ()), *keywords.get(entry["emoji"], ())]
    words = {word for text in texts for word in re.findall(r"[a-z]{3,}", text.lower())}
    return frozenset(words | {f"group {entry['subgroup']}"})


def _similarities(
    things: Mapping[str, frozenset[str]], labels: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Of every thing to every concept, by the concept's name."""
    count = Counter(word for words in things.values() for word in words)
    weight = {word: math.log(len(things) / n) ** 2 for word, n in count.items()}
    length = {
        label: math.sqrt(sum(weight[word] for word in sorted(words)))
        for label, words in things.items()
    }

    def cosine(a: str, b: str) -> float:
        return sum(weight[w] for w in sorted(things[a] & things[b])) / (length[a] * length[b])

    return {
        thing: {name: cosine(thing, label) for label, name in labels.items()} for thing in things
    }
