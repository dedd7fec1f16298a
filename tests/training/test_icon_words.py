"""The words near in meaning to the concepts of `icons`."""

import json
from pathlib import Path

import pytest

from scorefield.priors.text import PromptConditioner
from scorefield.training.icon_concepts import Concept
from scorefield.training.icon_words import related_words


class Words(PromptConditioner):
    def encode_one(self, prompt: str):  # type: ignore[no-untyped-def]
        return {}

    def modules(self):  # type: ignore[no-untyped-def]
        return []


def packages(folder: Path) -> Path:
    """Five things as emojibase and emojilib write them."""
    things = [
        ("fox", "F", 3, 1, ["forest"]),
        ("dog face", "D", 3, 1, ["pet"]),
        ("wolf", "W", 3, 1, ["forest"]),
        ("hamburger", "H", 4, 2, ["lunch"]),
        ("red flag", "R", 9, 3, ["forest"]),
    ]
    entries = [
        {"label": label, "emoji": sign, "hexcode": sign, "group": g, "subgroup": s, "tags": tags}
        for label, sign, g, s, tags in things
    ]
    base = folder / "emojibase-data-17.0.0" / "en"
    (base / "shortcodes").mkdir(parents=True)
    (base / "data.json").write_text(json.dumps(entries))
    keywords = folder / "emojilib-4.0.3" / "dist"
    keywords.mkdir(parents=True)
    (keywords / "emoji-en-US.json").write_text(json.dumps({"D": ["dog_face", "hound"]}))
    return folder


def test_words_lead_to_the_things_that_are_said_of_alike(tmp_path: Path) -> None:
    concepts = [
        Concept("fox", "fox"),
        Concept("dog", "dog face", ("puppy",)),
        Concept("burger", "hamburger"),
    ]
    related = related_words(concepts, packages(tmp_path))
    assert related["wolf"] == ["fox"]  # they share the forest; the dog only the group
    assert related["hound"] == ["dog"] and related["lunch"] == ["burger"]
    assert "flag" not in related  # no concrete thing
    assert not {"fox", "dog", "burger", "puppy"} & related.keys()
    assert {name for near in related.values() for name in near} <= {"fox", "dog", "burger"}


def test_a_refusal_names_what_is_near_in_meaning() -> None:
    text = Words(["a", "fox", "wall"], related={"wolf": ["fox"]})
    with pytest.raises(ValueError, match=r"'wolf' \(near in meaning: fox\); 'walk' \(nearest"):
        text.encode(["a wolf walk"])
