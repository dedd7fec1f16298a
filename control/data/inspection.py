"""What is wrong with demonstrations, found before a policy is trained on them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.formats import Choice, Demonstrations
from scorefield.control.data.normalizer import CONSTANT

_TAIL = 0.001  # of the steps, at either end, that may be outliers
_FEW = 20  # episodes
_APART = 100  # values that float32 is to tell apart


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    low, high: least and greatest value of each number, by feature; of what could be read.
    broken: why episodes cannot be trained on, by their number.
    advice: what to look at, a sentence each.
    """

    low: Mapping[str, NDArray[np.float64]]
    high: Mapping[str, NDArray[np.float64]]
    broken: Mapping[int, str]
    advice: Sequence[str] = field(default_factory=tuple)


def inspect(data: Demonstrations, choice: Choice | None, numbers: Sequence[int]) -> Inspection:
    """Reads all vectors of some episodes, and no images.

    Args:
        data: the demonstrations.
        choice: what would be taken of them; None: nothing can be.
        numbers: of the episodes.
    """
    taken = [] if choice is None else list(dict.fromkeys([*choice.state, *choice.action]))
    vectors = [n for n, one in data.features.items() if one.kind == "vector" and not one.broken]
    others = [name for name in vectors if name not in taken]
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*taken, *others)}
    broken: dict[int, str] = {}
    odd: list[str] = []
    read: list[int] = []
    for number in numbers:
        try:
            arrays = _arrays(data, number, taken, others, odd)
            if choice is not None:  # the checks of a training
                next(data.read(_without_cameras(choice), [number]))
        except ValueError as error:
            broken[number] = str(error)
            continue
        read.append(number)
        for name in (*taken, *others):
            array = np.asarray(arrays[name], dtype=np.float64)
            rows[name].append(array.reshape(len(array), -1))
    if not read:
        return Inspection({}, {}, broken, ["no episode can be read"])
    rows = {name: parts for name, parts in rows.items() if len(parts) == len(read)}
    low = {
        name: np.min([part.min(axis=0) for part in parts], axis=0) for name, parts in rows.items()
    }
    high = {
        name: np.max([part.max(axis=0) for part in parts], axis=0) for name, parts in rows.items()
    }
    advice = [
        *odd,
        *_of_episodes(data, read),
        *(line for name in taken for line in _of_numbers(name, rows[name])),
        *(() if choice is None else _of_actions(choice, read, rows)),
    ]
    if data.rate is None:
        advice.append("the steps per second are not known: say them with --rate")
    return Inspection(low, high, broken, advice)


def _arrays(
    data: Demonstrations, number: int, taken: list[str], others: list[str], odd: list[str]
) -> Mapping[str, NDArray[Any]]:
    """What is taken of an episode and the others; of those, what cannot be read goes to `odd`."""
    try:
        return data.arrays(number, [*taken, *others])
    except ValueError:
        data.arrays(number, taken)  # if that is what cannot be read
    for name in tuple(others):
        try:
            data.arrays(number, [name])
        except ValueError as error:
            others.remove(name)
            odd.append(f"{name} is not shown: {error}")
    return data.arrays(number, [*taken, *others])


def _without_cameras(choice: Choice) -> Choice:
    return Choice(choice.state, choice.action, {}, {})


def _of_episodes(data: Demonstrations, numbers: Sequence[int]) -> Iterator[str]:
    lengths = np.array([data.lengths[number] for number in numbers])
    if len(lengths) < _FEW:
        yield f"{len(lengths)} episodes are few; 50 to 200 of one task are usual"
    middle = float(np.median(lengths))
    odd = [n for n, steps in zip(numbers, lengths, strict=True) if not 0.1 < steps / middle < 10]
    if odd:
        yield (
            f"{_listed('episode', odd)} {_has(odd)} less than a tenth or more than ten times the "
            f"{middle:g} steps of the median: look at them, or leave them out with --episodes"
        )


def _of_numbers(name: str, parts: Sequence[NDArray[np.float64]]) -> Iterator[str]:
    """What is odd about the numbers of a feature."""
    whole = np.concatenate(parts)
    least, most = whole.min(axis=0), whole.max(axis=0)
    yield from of_ranges(name, least, most)
    step = np.spacing(np.maximum(np.abs(least), np.abs(most)).astype(np.float32))
    if far := np.flatnonzero((most > least) & (most - least < _APART * step)).tolist():
        yield (
            f"{name}: {_listed('number', far)} {'lies' if len(far) == 1 else 'lie'} so far from "
            f"zero that float32, which policies compute in, tells less than {_APART} values apart: "
            "record the distance from a place nearby, or the time since the start"
        )
    if len(whole) >= 10 / _TAIL:
        inner = np.quantile(whole, [_TAIL, 1 - _TAIL], axis=0)
        for index in np.flatnonzero((most - least) > 10 * (inner[1] - inner[0])).tolist():
            if least[index] < most[index]:
                yield (
                    f"{name}: number {index} lies in [{inner[0, index]:.4g}, "
                    f"{inner[1, index]:.4g}] in {1 - 2 * _TAIL:.1%} of the steps, and reaches "
                    f"[{least[index]:.4g}, {most[index]:.4g}]: a policy scales by the whole range, "
                    "so leave the episodes of the outliers out"
                )
    jumps = [np.diff(part, axis=0) for part in parts]
    turns = np.any([(np.abs(np.abs(one) - 2 * np.pi) < 0.3).any(axis=0) for one in jumps], axis=0)
    turns &= np.abs(most - least - 2 * np.pi) < 0.5  # all else runs further, or not so far
    if wrapped := np.flatnonzero(turns).tolist():
        yield (
            f"{name}: {_listed('number', wrapped)} {_jump(wrapped)} by a full turn, as an angle "
            "does that wraps: record its sine and cosine"
        )
    if "quat" in name.lower() and whole.shape[1] == 4:
        flips = sum(int(((part[1:] * part[:-1]).sum(axis=1) < -0.5).sum()) for part in parts)
        if flips:
            yield (
                f"{name}: changes its sign {flips} times from one step to the next: q and -q are "
                "one rotation, so keep to one of them"
            )


def of_ranges(name: str, least: NDArray[Any], most: NDArray[Any]) -> Iterator[str]:
    """What never changes, and what a policy takes for that (`Normalizer.of`).

    Args:
        name: of the feature.
        least: the least value of each of its numbers.
        most: the greatest.
    """
    if constant := np.flatnonzero(least == most).tolist():
        yield f"{name}: {_listed('number', constant)} never {_change(constant)}"
    tiny = np.flatnonzero((least < most) & (most - least < CONSTANT)).tolist()
    if tiny:
        yield (
            f"{name}: {_listed('number', tiny)} {_change(tiny)} by less than {CONSTANT:g}, which a "
            "policy takes for noise about a constant: record in smaller units if it is none"
        )


def _of_actions(
    choice: Choice, numbers: Sequence[int], rows: Mapping[str, Sequence[NDArray[np.float64]]]
) -> Iterator[str]:
    actions = [
        np.concatenate([rows[name][i] for name in choice.action], axis=1)
        for i in range(len(numbers))
    ]
    for name in choice.state:
        if all(
            np.array_equal(rows[name][i], action[:, : rows[name][i].shape[1]])
            for i, action in enumerate(actions)
        ):
            yield (
                f"the action begins with {name} of the same step: where the robot was, and not "
                "where it was sent, unless it is meant so"
            )
    still = sum(int((np.diff(action, axis=0) == 0).all(axis=1).sum()) for action in actions)
    steps = sum(len(action) - 1 for action in actions)
    if steps and still > 0.3 * steps:
        yield (
            f"the action stays as it was in {still / steps:.0%} of the steps: a policy learns to "
            "pause, so cut the pauses out or record slower"
        )
    digests = [hashlib.sha256(np.ascontiguousarray(a).data).hexdigest() for a in actions]
    twice = [number for i, number in enumerate(numbers) if digests[i] in digests[:i]]
    if twice:
        yield (
            f"{_listed('episode', twice)} {_has(twice)} the actions of an earlier one: leave one "
            "of them out"
        )


def of_images(camera: str, images: NDArray[Any]) -> Iterator[str]:
    """What is odd about images (N, H, W, 3) of a camera, several of several episodes."""
    if float(images.mean()) < 5:
        yield f"camera {camera}: its images are black"
    elif len(images) > 1 and (images == images[:1]).all():
        yield f"camera {camera}: its images are all the same"


def _listed(word: str, numbers: Sequence[int]) -> str:
    """Such as "numbers 3, 5 and 9 more"."""
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"{word}{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _has(numbers: Sequence[int]) -> str:
    return "have" if len(numbers) > 1 else "has"


def _change(numbers: Sequence[int]) -> str:
    return "change" if len(numbers) > 1 else "changes"


def _jump(numbers: Sequence[int]) -> str:
    return "jump" if len(numbers) > 1 else "jumps"
