"""The catalogue of meshes: fetched, read, and divided into models for training and for judging."""

import re
import shutil
import subprocess
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scorefield.files import whole_folder
from scorefield.training.furniture.nouns import LEFT_OUT, NOUNS, RENAMED

__all__ = ["PACKAGE", "SOURCES", "FurnitureModel", "Source", "fetch_furniture", "read_catalogue"]

PACKAGE = "sweethome3d-furniture=1.8-1"
"""Debian's package of the meshes, with its version."""

_PLACE = Path("usr/share/sweethome3d/furniture")
_LIST = "PluginFurnitureCatalog.properties"

COMMON = 5
"""Models that a noun needs to be judged by: it then keeps every fifth of them apart."""


@dataclass(frozen=True)
class Source:
    """One file of the package.

    licence: SPDX identifier.
    credit: holder.
    """

    licence: str
    credit: str


SOURCES: Mapping[str, Source] = {
    "BlendSwap-CC-0": Source("CC0-1.0", "creators of Blend Swap"),
    "BlendSwap-CC-BY": Source("CC-BY-3.0", "creators of Blend Swap, each model's in the catalogue"),
    "KatorLegaz": Source("CC-BY-3.0-US", "Andrew Kator and Jennifer Legaz"),
    "Scopia": Source(
        "CC-BY-3.0", "Emmanuel Puybaret / eTeks and Scopia Visual Interfaces Systems, s.l."
    ),
}
"""The files whose models are used."""


@dataclass(frozen=True)
class FurnitureModel:
    """A mesh of the catalogue.

    path: of its OBJ.
    name: as captions call it in full, such as "wooden table".
    noun: what it is, such as "table".
    size: width, height and depth, centimetres.
    rotation: the nine numbers, row by row, of the catalogue's rotation; identity where it has none.
    source: key of `SOURCES`.
    creator: as the catalogue says.
    held_out: whether it is kept for judging.
    """

    path: Path
    name: str
    noun: str
    size: tuple[float | int, float | int, float | int]
    rotation: tuple[float | int, ...]
    source: str
    creator: str
    held_out: bool = False


def fetch_furniture(out: Path, package: Path | None = None) -> Path:
    """The unpacked files of the package, fetched once by apt; returns their folder.

    package: the .deb, where it is there already or apt is not.

    Raises:
        ValueError: apt or dpkg is not installed, or the package cannot be had or read.
    """
    target = out / "furniture"
    if target.is_dir():
        return target
    out.mkdir(parents=True, exist_ok=True)
    for program in ("dpkg-deb",) if package else ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ValueError(
                f"{program} is not installed; on a system of Debian's kind the meshes come by "
                f"apt-get download {PACKAGE}, and --package takes the file"
            )
    if package is None:
        _run(["apt-get", "download", PACKAGE], out)
        package = max(out.glob("sweethome3d-furniture_*.deb"))
    unpacked = out / "unpacked"
    _run(["dpkg-deb", "-x", str(package.resolve()), str(unpacked.resolve())], out)
    with whole_folder(target) as part:
        for name in SOURCES:
            archive = unpacked / _PLACE / f"{name}.sh3f"
            if not archive.exists():
                raise ValueError(f"{package}: holds no {archive.name}; give {PACKAGE}")
            with zipfile.ZipFile(archive) as content:
                content.extractall(part / name)
    shutil.rmtree(unpacked)
    return target


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise ValueError(f"{' '.join(command[:2])} {command[-1]} failed: {said[-1]}")


def read_catalogue(folder: Path) -> list[FurnitureModel]:
    """The models of which pictures can be made, by source and number.

    Of nouns with `COMMON` models or more every fifth is held out; models of one name are kept
    together, since they are often the same thing in another colour.

    Raises:
        ValueError: the folder is not that of `fetch_furniture`.
    """
    models = []
    for source in SOURCES:
        path = folder / source / _LIST
        if not path.is_file():
            raise ValueError(f"{path}: is missing; remove {folder} and fetch it again")
        for entry in _entries(path.read_text("latin-1")):
            model = _model(entry, folder / source, source)
            if model is not None:
                models.append(model)
    return _divided(models)


def _entries(text: str) -> list[dict[str, str]]:
    """The numbered entries of a catalogue in Java's properties format."""
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)#(\d+)\s*=\s*(.*)", line.strip())
        if found:
            entries[int(found[2])][found[1]] = found[3]
    return [entries[number] for number in sorted(entries)]


def _model(entry: Mapping[str, str], folder: Path, source: str) -> FurnitureModel | None:
    name = " ".join(re.sub(r"[^a-z0-9:' ]+", " ", entry["name"].lower()).split())
    name = RENAMED.get(name, name)
    apart = entry.get("doorOrWindow") == "true"
    if apart or any(re.search(rf"\b{word}s?\b", name) for word in LEFT_OUT):
        return None
    path = folder / entry["model"].lstrip("/")
    if path.suffix.lower() != ".obj" or not path.is_file():
        return None
    noun = _noun(name)
    rotation = entry.get("modelRotation", "1 0 0 0 1 0 0 0 1")
    return FurnitureModel(
        path,
        name if _plain(name, noun) else noun,
        noun,
        (float(entry["width"]), float(entry["height"]), float(entry["depth"])),
        tuple(map(float, rotation.split())),
        source,
        entry["creator"],
    )


def _noun(name: str) -> str:
    """What a thing of that name is: by the longest of the endings, or its own name."""
    found = [
        (len(ending), noun)
        for noun, endings in NOUNS.items()
        for ending in endings
        if name == ending or name.endswith(f" {ending}")
    ]
    return max(found)[1] if found else name


def _plain(name: str, noun: str) -> bool:
    """Whether captions may say the name: brands and numbers are left to the noun."""
    if noun in ("car", "computer", "phone", "scooter", "television"):
        return name == noun
    return name.replace("'", "").replace(" ", "").isalpha()


def _divided(models: Sequence[FurnitureModel]) -> list[FurnitureModel]:
    counts = Counter(model.noun for model in models)
    groups: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, model in enumerate(models):
        if counts[model.noun] >= COMMON:
            # one maker's things of one name are often one thing in other colours
            groups[model.noun][model.creator, model.name].append(number)
    held_out = set()
    for noun, names in groups.items():
        wanted, taken = round(counts[noun] / 5), 0
        for numbers in sorted(names.values(), key=lambda numbers: (len(numbers), numbers)):
            if taken < wanted and (taken + len(numbers) <= wanted or not taken):
                held_out.update(numbers)
                taken += len(numbers)
    return [replace(model, held_out=number in held_out) for number, model in enumerate(models)]
