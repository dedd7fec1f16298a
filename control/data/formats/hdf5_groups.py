"""What lies in a group of an HDF5 file that holds an episode."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from scorefield.control.data.formats.features import ACTIONS, Feature, kind_of, natural, role_of
from scorefield.control.data.formats.reading import DataError, damaged
from scorefield.files import parse_json

OBSERVED = ("obs", "observations", "observation")
"""What groups of observations are called."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG")
"""How files of JPEG and PNG begin, which some data sets hold as rows of bytes."""


def actions_of(group: Any) -> str | None:
    """What the actions of an episode are called."""
    for name in ACTIONS:
        found = group.get(name)
        if hasattr(found, "shape"):
            return name
        if hasattr(found, "keys") and (parts := arrays_of(found, f"{name}/")):
            return next(iter(parts))
    return None


def length_of(where: str, group: Any, strict: bool) -> int:
    """The steps of an episode; `strict` if it is one of robomimic's."""
    if not len(group):
        return 0  # an episode that never began; it is refused where it is asked for
    actions = actions_of(group)
    observed = any(name in group for name in OBSERVED)
    if strict and (actions is None or not observed):
        raise DataError(f"{where}: lacks 'obs' or 'actions'; there are {sorted(group)}")
    if actions is None:
        steps = common_rows(group)
        if not steps:
            raise DataError(f"{where}: lacks 'actions'; there are {sorted(group)}")
        return steps
    if not group[actions].shape:
        raise DataError(f"{where}: {actions} has shape {group[actions].shape}, and no steps")
    steps, told = int(group[actions].shape[0]), group.attrs.get("num_samples")
    if told is not None:
        with damaged(f"{where}: the attribute num_samples"):
            told = int(told)
        if told != steps:
            raise DataError(f"{where}: num_samples is {told}, but there are {steps} actions")
    return steps


def common_rows(group: Any) -> int:
    """How many rows most arrays of numbers have; 0 if there is no such number."""
    arrays = [array for array in arrays_of(group).values() if array.dtype.kind in "fiub"]
    rows = [array.shape[0] for array in arrays if array.shape]
    most = max(rows, key=rows.count, default=0)
    return most if 2 * rows.count(most) > len(rows) else 0


def arrays_of(group: Any, prefix: str = "") -> dict[str, Any]:
    """All arrays below a group, by their path; links to other files are not followed."""
    found: dict[str, Any] = {}
    for name in group:
        link = type(group.get(name, getlink=True)).__name__
        child = None if link == "ExternalLink" else group.get(name)  # a link may lead nowhere
        if hasattr(child, "shape"):
            found[f"{prefix}{name}"] = child
        elif hasattr(child, "keys") and prefix.count("/") < 6:
            found |= arrays_of(child, f"{prefix}{name}/")
    return found


def lost_links(group: Any) -> list[str]:
    """Links below a group that lead nowhere, or to other files."""
    found: list[str] = []

    def look(name: str, link: Any) -> None:
        if type(link).__name__ == "ExternalLink" or group.get(name) is None:
            found.append(name)

    group.visititems_links(look)
    return found


def lost_sources(array: Any) -> str:
    """A file, or an array in it, that a virtual array takes rows from and that is not there."""
    for source in array.virtual_sources() if array.is_virtual else ():
        if source.file_name == "." or "%" in source.file_name:
            continue
        beside = Path(array.file.filename).parent / source.file_name
        files = [file for file in (beside, Path(source.file_name)) if file.is_file()]
        if not files:
            return str(beside)
        with type(array.file)(files[0], "r") as file:
            if source.dset_name not in file:
                return f"{files[0]}: {source.dset_name}"
    return ""


def features_of(group: Any, steps: int) -> dict[str, Feature]:
    """Those of an episode: robots first, then objects, as in robomimic's configurations."""
    arrays = arrays_of(group)
    observed = any(name in group for name in OBSERVED)
    top = [
        n for n in arrays if n.count("/") == 1 and n.startswith(tuple(f"{o}/" for o in OBSERVED))
    ]
    top += [
        n for n in arrays if n.count("/") == 1 and n.startswith(tuple(f"{a}/" for a in ACTIONS))
    ]
    direct = {n.split("/")[0] for n in top if _kind(n, arrays[n]) == "vector"}
    features = [_feature(name, array, direct, observed, steps) for name, array in arrays.items()]
    features.sort(key=lambda one: ("/robot" not in one.name, natural(one.name)))
    return {one.name: one for one in features}


def _feature(name: str, array: Any, direct: set[str], observed: bool, steps: int) -> Feature:
    """An array of an episode.

    Args:
        name: its path.
        array: what is there.
        direct: groups at the top, such as obs, that vectors lie in, and not only in groups in them.
        observed: there is a group of observations; without one, all arrays may be some.
        steps: of the episode.
    """
    kind = _kind(name, array)
    role, aside = role_of(name, kind)
    if role == "observation" and not name.startswith(OBSERVED):
        if name.startswith("env_states/"):
            aside = "a state of the simulator"
        role = "" if observed or aside or array.shape[:1] != (steps,) else role
    if role == "" and array.shape[:1] != (steps,):
        kind, aside = "other", aside or f"of shape {array.shape}, and of {steps} steps"
    if name.startswith("next_"):
        role, aside = "", "observed after the action"
    if role and kind == "vector" and name.count("/") > 1 and name.split("/")[0] in direct:
        aside = "in a group of its own"
    return Feature(name, tuple(array.shape[1:]), str(array.dtype), kind, role, aside)


def _kind(name: str, array: Any) -> Any:
    if not array.shape or array.shape[0] == 0:
        return "other"
    bytes_of_a_file = array.ndim == 2 and array.dtype == np.uint8 and array.shape[1] > 256
    if array.dtype.kind in "OS" or bytes_of_a_file:
        row = array[0]
        is_bytes = isinstance(row, bytes) or getattr(row, "dtype", None) == np.uint8
        start = bytes(bytearray(row))[:26] if is_bytes else b""
        if not start.startswith(_MAGIC):
            return "other"
        # In 16 bits of grey: the width of a number, and no colour.
        is_depth = "depth" in name.lower() or start[24:26] == b"\x10\x00"
        return "depth" if is_depth else "images"
    return kind_of(name, tuple(array.shape[1:]), str(array.dtype))


def rate_of(file: Path, text: Any) -> float | None:
    """Steps per second, where the attribute env_args tells."""
    if text is None:
        return None
    where = f"{file}, data: the attribute env_args"
    try:
        told = parse_json(text)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is not JSON ({error})") from error
    settings = told.get("env_kwargs") if isinstance(told, dict) else None
    frequency = settings.get("control_freq") if isinstance(settings, dict) else None
    if frequency is None:
        return None
    if isinstance(frequency, bool) or not isinstance(frequency, int | float):
        raise DataError(f"{where} says control_freq {frequency!r}; it must be a number")
    if not (math.isfinite(frequency) and frequency > 0):
        raise DataError(f"{where} says control_freq {frequency}; it must be positive")
    return float(frequency)
