"""Ways in which files go wrong: bits, cuts, losses, values of JSON, words of text, tensors."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VALUES = (None, True, -1, 0, 2.5, 10**12, float("nan"), "x", "", [], {}, [None], [-1], {"a": 1})

TEXT = (".json", ".jsonl", ".txt", ".svg", ".obj", ".off", ".gltf", ".md", ".sha256", ".csv")

SPOILT = (
    "1e999",
    "nan",
    "-1",
    "0",
    "%",
    "'",
    "&lt;",
    "\x00",
    "é" * 50,
    "9" * 400,
    "(",
    "</g>",
    "#",
)


def files_of(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def damage(path: Path, chance: random.Random) -> str:
    """Damages a file, or one of a folder's, and says how."""
    file = chance.choice(files_of(path))
    kinds = ["flip", "flips", "cut", "empty", "lost", "noise", "repeat"]
    if file.suffix in TEXT or file.name.startswith(".z"):
        kinds += ["words", "words", "words"]
    if file.suffix == ".json" or file.name.startswith(".z"):
        kinds += ["value"] * 6 + ["deep"]
    kind = chance.choice(kinds)
    data = bytearray(file.read_bytes())
    if kind == "lost":
        file.unlink()
    elif kind == "value":
        file.write_text(json.dumps(_value_changed(json.loads(data), chance)), encoding="utf-8")
    else:
        file.write_bytes(_BYTES[kind](data, chance) if data else b"x")
    return f"{kind} {file.relative_to(path.parent)}"


def _flips(data: bytearray, chance: random.Random, share: float = 0.02) -> bytes:
    for _ in range(1 + int(share * len(data))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _repeated(data: bytearray, chance: random.Random) -> bytes:
    """A piece of the file stands in another place of it as well."""
    start, at = chance.randrange(len(data)), chance.randrange(len(data))
    piece = data[start : start + chance.randrange(1, 200)]
    return bytes(data[:at] + piece + data[at + chance.choice((0, len(piece))) :])


def _words(data: bytearray, chance: random.Random) -> bytes:
    """Some of the words, or numbers, of a text lost or replaced."""
    import re

    pieces = re.split(r"(\s+|[\"'<>(){}\[\],:=/])", data.decode("utf-8", "replace"))
    for _ in range(chance.randrange(1, 5)):
        pieces[chance.randrange(len(pieces))] = chance.choice(("", *SPOILT))
    return "".join(pieces).encode()


_BYTES = {
    "flip": lambda data, chance: _flips(data, chance, 0.0),
    "flips": _flips,
    "cut": lambda data, chance: bytes(data[: chance.randrange(len(data))]),
    "empty": lambda data, chance: b"",
    "noise": lambda data, chance: chance.randbytes(len(data)),
    "repeat": _repeated,
    "words": _words,
    "deep": lambda data, chance: b"[" * 10**5 + b"]" * 10**5,
}


def _value_changed(content: Any, chance: random.Random) -> Any:
    """One value, at any depth, lost or replaced by another kind of one."""
    holder, place = chance.choice(list(_places(content)) or [(None, None)])
    if holder is None:
        return chance.choice(VALUES)
    if chance.random() < 0.15:
        del holder[place]
    else:
        holder[place] = chance.choice(VALUES)
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    places = content if isinstance(content, dict) else range(len(content))
    if isinstance(content, dict | list):
        for place in places:
            yield content, place
            if isinstance(content[place], dict | list):
                yield from _places(content[place])


def weights_damaged(file: Path, chance: random.Random) -> str:
    """Changes a file of weights so that it still loads: a bit, two tensors, half of one zeroed."""
    from safetensors.torch import load_file, save_file

    data = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    kind = chance.choice(("bit", "swapped", "halved"))
    if kind == "bit":
        data[chance.randrange(header, len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        return kind
    tensors = load_file(file)
    names = sorted(name for name, one in tensors.items() if one.numel() > 1)
    if kind == "swapped":
        pairs = [(a, b) for a in names for b in names if a < b and _alike(tensors[a], tensors[b])]
        if pairs:
            a, b = chance.choice(pairs)
            tensors[a], tensors[b] = tensors[b].clone(), tensors[a].clone()
            save_file(tensors, file)
            return kind
    name = chance.choice([one for one in names if tensors[one].reshape(-1)[1:].any()])
    tensors[name] = tensors[name].clone()
    tensors[name].reshape(-1)[tensors[name].numel() // 2 :] = 0
    tensors[name].reshape(-1)[-1] = 1 if tensors[name].reshape(-1)[-1] == 0 else 0
    save_file(tensors, file)
    return kind


def _alike(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and not bool((a == b).all())
