"""The pictures of the prior `icons`: openly licensed sets, fetched and rendered."""

import colorsys
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from scorefield.files import whole_file
from scorefield.training.folder import METADATA
from scorefield.training.icon_concepts import (
    CONCEPTS,
    HELD_OUT_SETS,
    TINTED_SETS,
    TRAINING_SETS,
    Concept,
    IconSet,
)

__all__ = ["CONCRETE_GROUPS", "TINTS", "fetch_package", "read_emoji", "render_icons"]

NAMES_PACKAGE = "emojibase-data@17.0.0"
"""English names of all emoji (MIT), which join the sets."""

SIZE = 96
"""Side of the rendered pictures, pixels."""

TINTS: Mapping[str, tuple[int, int, int]] = {
    "red": (226, 52, 52),
    "orange": (245, 132, 31),
    "yellow": (250, 200, 40),
    "green": (58, 160, 72),
    "teal": (20, 150, 150),
    "blue": (44, 110, 220),
    "purple": (130, 72, 190),
    "pink": (240, 110, 170),
    "black": (35, 35, 40),
}
"""Colours of the icons that have none of their own, and of a part of those that have one."""

_UNSHADED = {"twemoji", "fluent-emoji-flat", "fxemoji", "noto", "emojione", "streamline-emojis"}
CONCRETE_GROUPS = (3, 4, 5, 6, 7)
"""Of emojibase: nature, food, travel, activities, objects."""

_LEFT_OUT = (52, 58, 73)  # of its subgroups: religion, time, money
_UNLIKE = {"apple", "football", "mouse"}  # one-colour icons of these names show something else
_RECOLOURED = 2  # icons of a concept that also come in another colour


def fetch_package(package: str, folder: Path) -> Path:
    """The unpacked files of a package of npm, fetched once by its own client.

    Raises:
        ValueError: npm is not installed or the package cannot be had.
    """
    target = folder / package.removeprefix("@").replace("/", "-").replace("@", "-")
    if target.is_dir():
        return target
    if shutil.which("npm") is None:
        raise ValueError("npm fetches the sets of icons, and is not installed; install Node.js")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["npm", "pack", package, "--silent"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"npm could not fetch {package}: {done.stderr.strip().splitlines()[-1:]}")
    archive = folder / done.stdout.strip().splitlines()[-1]
    partial = target.with_suffix(".partial")
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    (partial / "package").replace(target)
    partial.rmdir()
    return target


class _Icons:
    """One set: its drawings by the label of an emoji."""

    def __init__(self, icon_set: IconSet, packages: Path) -> None:
        folder = fetch_package(icon_set.package, packages)
        content = json.loads((folder / "icons.json").read_text("utf-8"))
        self.size = (content.get("width", 16), content.get("height", 16))
        self.icons: dict[str, dict[str, Any]] = content["icons"]
        self.names = {_plain(name): name for name in self.icons}
        for alias, entry in content.get("aliases", {}).items():
            self.names.setdefault(_plain(alias), entry["parent"])
        chars = folder / "chars.json"
        self.chars = json.loads(chars.read_text("utf-8")) if chars.exists() else {}

    def find(self, emoji: Mapping[str, Any], shortcodes: list[str]) -> str | None:
        """The name of the icon of an emoji: by its code point, or by one of its names."""
        code = emoji["hexcode"].lower().replace("-fe0f", "")
        if code in self.chars:
            return str(self.chars[code])
        label = _plain(emoji["label"])
        names = [label, *map(_plain, shortcodes), label + "face", label.replace("face", "")]
        return next((self.names[name] for name in names if name in self.names), None)

    def draw(self, name: str, color: str = "black") -> Image.Image:
        """The picture of an icon, transparent where nothing is drawn."""
        import resvg_py

        icon = self.icons.get(name) or self.icons[self.names[_plain(name)]]
        width, height = icon.get("width", self.size[0]), icon.get("height", self.size[1])
        left, top = icon.get("left", 0), icon.get("top", 0)
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
        ).replace("currentColor", color)
        png = resvg_py.svg_to_bytes(
            svg_string=text, width=SIZE, height=SIZE, skip_system_fonts=True
        )
        return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def render_icons(
    out: Path,
    packages: Path,
    concepts: Sequence[Concept] = CONCEPTS,
    *,
    progress: bool = True,
) -> tuple[Path, Path]:
    """Fetch the sets and render them; returns the folders of training and held-out pictures.

    Both are in Hugging Face's imagefolder format. The concepts have captions; the other
    concrete things that the training sets draw have none, and are for the codec. Of each concept
    two icons come in another colour as well, and the one-colour sets in one that the caption names.
    The same packages give the same pictures.

    Raises:
        ValueError: resvg-py or npm is not installed, or a package cannot be had.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "icons are rendered by resvg-py, which is not installed; pip install scorefield[svg]"
        ) from error
    training, held_out = out / "training", out / "held-out"
    if not (held_out / METADATA).exists():
        emoji, shortcodes = read_emoji(packages)
        _write(training, _training_pictures(packages, concepts, emoji, shortcodes, progress))
        _write(held_out, _held_out_pictures(packages, concepts, emoji, shortcodes))
    return training, held_out


def _training_pictures(
    packages: Path,
    concepts: Sequence[Concept],
    emoji: Mapping[str, Mapping[str, Any]],
    shortcodes: Mapping[str, list[str]],
    progress: bool,
) -> Iterator[tuple[str, Image.Image, list[str]]]:
    rng = np.random.default_rng(0)
    sets = {key: _Icons(icon_set, packages) for key, icon_set in TRAINING_SETS.items()}
    for concept in tqdm(concepts, desc="rendering icons", disable=not progress):
        entry = emoji[concept.label]
        drawn = {key: s.find(entry, shortcodes[entry["hexcode"]]) for key, s in sets.items()}
        pictures = {key: sets[key].draw(name) for key, name in drawn.items() if name is not None}
        for key, picture in pictures.items():
            style = TRAINING_SETS[key].style
            yield f"{concept.name}/{key}.png", picture, _captions(concept, style, key in _UNSHADED)
        for key in rng.permutation(sorted(pictures))[:_RECOLOURED]:
            color = list(TINTS)[rng.integers(len(TINTS) - 1)]
            recoloured = _recoloured(pictures[key], TINTS[color])
            if recoloured is not None:
                captions = _coloured_captions(concept, color, f"a {TRAINING_SETS[key].style} ")
                yield f"{concept.name}/{key}-{color}.png", recoloured, captions
    yield from _tinted_pictures(packages, concepts, rng)
    known = {concept.label for concept in concepts}
    for label, entry in emoji.items():
        concrete = entry.get("group") in CONCRETE_GROUPS and entry["subgroup"] not in _LEFT_OUT
        if concrete and label not in known:
            for key, icons in sets.items():
                name = icons.find(entry, shortcodes[entry["hexcode"]])
                if name is not None:
                    yield f"others/{_plain(label)}-{key}.png", icons.draw(name), []


def _tinted_pictures(
    packages: Path, concepts: Sequence[Concept], rng: np.random.Generator
) -> Iterator[tuple[str, Image.Image, list[str]]]:
    for key, icon_set in TINTED_SETS.items():
        icons = _Icons(icon_set, packages)
        for concept in concepts:
            suffix = "-fill" if key == "ph" else ""
            names = [name + suffix for name in (concept.name, *concept.synonyms)]
            name = next((name for name in names if name in icons.icons), None)
            if name is None or concept.name in _UNLIKE:
                continue
            color = list(TINTS)[rng.integers(len(TINTS))]
            picture = icons.draw(name, "#{:02x}{:02x}{:02x}".format(*TINTS[color]))
            captions = _coloured_captions(concept, color, f"a {icon_set.style} of a ")
            yield f"{concept.name}/{key}-{color}.png", picture, captions


def _held_out_pictures(
    packages: Path,
    concepts: Sequence[Concept],
    emoji: Mapping[str, Mapping[str, Any]],
    shortcodes: Mapping[str, list[str]],
) -> Iterator[tuple[str, Image.Image, list[str]]]:
    for key, icon_set in HELD_OUT_SETS.items():
        icons = _Icons(icon_set, packages)
        for concept in concepts:
            entry = emoji[concept.label]
            name = icons.find(entry, shortcodes[entry["hexcode"]])
            if name is not None:
                yield f"{concept.name}/{key}.png", icons.draw(name), [concept.name]


def _captions(concept: Concept, style: str, flat: bool) -> list[str]:
    noun = with_article(concept.name)
    captions = [noun, noun, f"an icon of {noun}", with_article(f"{style} {concept.name}")]
    captions.append(with_article(f"{style} icon of {noun}"))
    return captions + [f"a flat icon of {noun}"] * (2 if flat else 0)


def _coloured_captions(concept: Concept, color: str, style: str) -> list[str]:
    noun = with_article(f"{color} {concept.name}")
    return [noun, f"an icon of {noun}", f"a flat icon of {noun}", f"{style}{color} {concept.name}"]


def with_article(noun: str) -> str:
    """As in "a fox" and "an owl"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _recoloured(picture: Image.Image, color: tuple[int, int, int]) -> Image.Image | None:
    """The picture with its hues turned so that the most common one is the colour's.

    None where hardly a third of the ink has a hue.
    """
    pixels = np.asarray(picture).astype(np.float64) / 255
    hsv = np.asarray(picture.convert("RGB").convert("HSV")).astype(np.float64) / 255
    weight = pixels[..., 3] * hsv[..., 1] * (hsv[..., 1] > 0.25)
    if weight.sum() < 0.25 * pixels[..., 3].sum():
        return None
    angle = 2 * np.pi * hsv[..., 0]
    mean = np.angle((weight * np.exp(1j * angle)).sum()) / (2 * np.pi)
    hsv[..., 0] = (hsv[..., 0] - mean + colorsys.rgb_to_hsv(*(c / 255 for c in color))[0]) % 1
    rgb = Image.fromarray((hsv * 255).round().astype(np.uint8), "HSV").convert("RGB")
    rgb.putalpha(picture.getchannel("A"))
    return rgb


def read_emoji(packages: Path) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """The entries of emojibase by label, and the short names of each code point."""
    folder = fetch_package(NAMES_PACKAGE, packages) / "en"
    entries = json.loads((folder / "data.json").read_text("utf-8"))
    shortcodes: dict[str, list[str]] = {entry["hexcode"]: [] for entry in entries}
    for path in sorted((folder / "shortcodes").glob("*.json")):
        for code, names in json.loads(path.read_text("utf-8")).items():
            shortcodes.setdefault(code, []).extend([names] if isinstance(names, str) else names)
    return {entry["label"]: entry for entry in entries}, shortcodes


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _write(folder: Path, pictures: Iterator[tuple[str, Image.Image, list[str]]]) -> None:
    """An imagefolder; its list of captions is written last, so that it stands for the whole."""
    lines = []
    for name, picture, captions in pictures:
        if picture.getchannel("A").getbbox() is None:
            continue
        path = folder / name.replace(" ", "_")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        lines.append(json.dumps({"file_name": name.replace(" ", "_"), "text": captions}))
    with whole_file(folder / METADATA) as part:
        part.write_text("\n".join(lines) + "\n", "utf-8")
