"""Files of a part of a pipeline: its JSON, and which safetensors files hold its weights."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from scorefield.files import parse_json
from scorefield.integrity import check_seal


class PriorError(ValueError):
    """A prior that cannot be loaded; the message names the file and the remedy."""


_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

# Of a part, whole or in shards; a variant such as fp16 stands before or after the shard's number.
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>[a-z]\w*))?"
    r"(?:-\d{5}-of-\d{5})?(?:\.(?P<after>[a-z]\w*))?\.safetensors"
)


def check_sealed(folder: Path) -> None:
    """Compare a folder with its seal, if it has one.

    Raises:
        PriorError: a file is not the one that was sealed.
    """
    try:
        check_seal(folder)
    except ValueError as error:
        raise PriorError(str(error)) from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        PriorError: it is missing or holds none.
    """
    if not path.is_file():
        raise PriorError(f"{path}: missing; the folder is incomplete, copy it again")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PriorError(f"{path}: not valid JSON ({error}); copy the file again") from None
    if not isinstance(content, dict):
        raise PriorError(f"{path}: must hold a JSON object; copy the file again")
    return content


def variant_of(folders: Iterable[Path], variant: str | None = None) -> str | None:
    """The variant of the weights that a pipeline is loaded in: None, or such as "fp16".

    Without one asked for it is None where every part has plain weights, else the one that all parts
    without plain weights have. Parts that lack it are loaded plain.

    Raises:
        PriorError: no part has the one asked for, a part has neither it nor plain weights, or there
            are no weights.
    """
    found = {folder: _by_variant(folder) for folder in folders}
    without = [set(files) for files in found.values() if None not in files]
    if variant is None and without:
        common = sorted(set.intersection(*without), key=str)
        if not common:
            raise PriorError(
                f"{next(iter(found)).parent}: its parts have weights of different variants only "
                f"({', '.join(sorted(str(v) for v in set.union(*without)))}); copy one whole"
            )
        if len(common) > 1:
            raise PriorError(
                f"{next(iter(found)).parent}: has no plain weights but several variants; "
                f"choose one with variant (--variant): {', '.join(map(str, common))}"
            )
        return common[0]
    if variant is not None:
        for folder, files in found.items():
            if variant not in files and None not in files:
                raise PriorError(
                    f"{folder}: has no weights of variant {variant!r}, only "
                    f"{', '.join(sorted(map(str, files)))}; give one of these"
                )
        if not any(variant in files for files in found.values()):
            raise PriorError(
                f"{next(iter(found)).parent}: no part has weights of variant {variant!r}; "
                "leave the variant out"
            )
    return variant


def check_weights(folder: Path, variant: str | None = None) -> int:
    """How many tensors the weights of a part hold, by their headers and the files' sizes.

    variant: of `variant_of`; a part without it has plain weights.

    Raises:
        PriorError: there are none, or they are pickled, truncated or damaged.
    """
    found = _by_variant(folder)
    return sum(check_weights_file(path) for path in found.get(variant) or found.get(None, ()))


def tensor_names(folder: Path, variant: str | None = None) -> set[str]:
    """The names of the tensors that the weights of a part hold; as `check_weights`."""
    found = _by_variant(folder)
    names: set[str] = set()
    for path in found.get(variant) or found.get(None, ()):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    return names


def _by_variant(folder: Path) -> dict[str | None, Sequence[Path]]:
    files: dict[str | None, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if match := _WEIGHTS.fullmatch(path.name):
            files.setdefault(match["variant"] or match["after"], []).append(path)
    if files:
        return dict(files)
    pickled = sorted(p for p in folder.iterdir() if p.suffix in _PICKLES)
    if pickled:
        raise PriorError(
            f"{pickled[0]}: pickled weights can run code and are not loaded; convert with "
            "pipeline.save_pretrained(folder, safe_serialization=True)"
        )
    raise PriorError(f"{folder}: no .safetensors weights; the folder is incomplete, copy it again")


def check_weights_file(path: Path) -> int:
    """How many tensors a safetensors file holds, by its header and its size.

    Raises:
        PriorError: it is truncated or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 8 + length <= size else b""
    try:
        entries = parse_json(header)
        ends = [e["data_offsets"][1] for name, e in entries.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise PriorError(f"{path}: truncated or damaged header; copy the file again") from None
    if size != expected:
        raise PriorError(f"{path}: has {size} of {expected} bytes; copy the file again")
    return len(ends)
