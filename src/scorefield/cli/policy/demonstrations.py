"""The options by which commands choose what of demonstrations they take."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scorefield.cli.command import Command

if TYPE_CHECKING:
    from scorefield.control.data.episodes import Episodes
    from scorefield.control.data.formats import Choice, Demonstrations


@dataclass(frozen=True, kw_only=True)
class DemonstrationsCommand(Command):
    """A command that reads demonstrations."""

    demonstrations: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DEMONSTRATIONS")]
    """Demonstrations: a folder of `policy collect`, LeRobot v3, a zarr replay buffer (a folder or
    .zip), HDF5 of robomimic's or a like layout, a .npz per episode, or a folder of such files."""
    state: tuple[str, ...] | None = None
    """Features that make the state, side by side; without it, all vectors that are observations."""
    action: tuple[str, ...] | None = None
    """Features that make the action; without it, the one called action or actions."""
    cameras: tuple[str, ...] | None = None
    """Features of images to take; without it, all colour images that are observations."""
    episodes: tuple[str, ...] | None = None
    """Which episodes to take: numbers from 0, ranges such as 0:50, the name of a part that the file
    lists, such as train, or the text of a task of LeRobot's; without it, all."""
    tolerance: float | None = None
    """Seconds that a time stamp of LeRobot's may be off its place; without it, half a step."""
    rate: float | None = None
    """Steps per second, for demonstrations that do not say it."""

    def opened(self) -> "Demonstrations":
        """The demonstrations, before anything of them is read."""
        from scorefield.control.data.formats import open_demonstrations

        return open_demonstrations(self.demonstrations, tolerance=self.tolerance, rate=self.rate)

    def numbers(self, data: "Demonstrations") -> list[int]:
        """The episodes that are asked for.

        Raises:
            ValueError: there are no such episodes.
        """
        count = len(data.lengths)
        if self.episodes is None:
            return list(range(count))
        found: list[int] = []
        for word in self.episodes:
            if word in data.parts:
                found += data.parts[word]
                continue
            begin, colon, end = word.partition(":")
            try:
                first = int(begin) if begin or not colon else 0
                last = int(end or count) if colon else first + 1
            except ValueError:
                about = [note for note in data.notes if word and word in note]
                raise ValueError(
                    f"--episodes takes numbers, ranges such as 0:50 and the parts "
                    f"{sorted(data.parts)} of {self.demonstrations}; got {word!r}"
                    f"{''.join(f' ({note})' for note in about)}"
                ) from None
            if not 0 <= first < last <= count:
                raise ValueError(
                    f"--episodes {word}: {self.demonstrations} has episodes 0 to {count - 1}"
                )
            found += range(first, last)
        return list(dict.fromkeys(found))


def loaded(data: "Demonstrations", choice: "Choice", numbers: Sequence[int]) -> "Episodes":
    """The episodes: mapped, if the demonstrations are a folder of ours, or else in memory.

    Raises:
        ValueError: they are damaged, or larger than memory.
    """
    from scorefield.control.data.episodes import Episodes
    from scorefield.control.data.formats.folder import Folder

    if isinstance(data, Folder) and list(numbers) == list(range(len(data.lengths))):
        whole = data.episodes
        images = {f"camera.{name}": whole.cameras[name] for name in choice.cameras}
        arrays = {"state": whole.state, "action": whole.action, **images}
        return Episodes(arrays, whole.ends.tolist(), whole.rate, whole.keys)
    _check_memory(data, choice, numbers)
    return Episodes.of(data.read(choice, numbers))


def task_texts(data: "Demonstrations", numbers: Sequence[int]) -> list[str]:
    """The task of each episode.

    Raises:
        ValueError: some episode has none, or several.
    """
    parts = data.parts if data.format.startswith("LeRobot") else {}
    found = {n: [text for text, of in parts.items() if n in of] for n in numbers}
    for number, texts in found.items():
        if len(texts) != 1:
            raise ValueError(
                f"{data.path}: a policy that is told its task (--task-text) needs one of LeRobot's "
                f"per episode, and episode {number} has {texts or 'none'}; choose others with "
                "--episodes"
            )
    return [texts[0] for texts in found.values()]


def _check_memory(data: "Demonstrations", choice: "Choice", numbers: Sequence[int]) -> None:
    """Refuses images that memory does not hold, before they are read for hours."""
    if not hasattr(os, "sysconf"):  # as on Windows
        return
    steps = sum(data.lengths[number] for number in numbers)
    shapes = [data.features[name].shape for name in choice.cameras.values()]
    wanted = (
        2 * steps * sum(math.prod(shape) for shape in shapes)
    )  # twice, while they are put together
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > there:
        raise ValueError(
            f"{data.path}: {steps} images of {len(shapes)} cameras need {wanted / 1e9:.1f} GB, "
            f"and there are {there / 1e9:.1f}; take fewer with --episodes or --cameras, or make a "
            "folder that is mapped: scorefield.control.write_episodes(FOLDER, read_episodes(PATH))"
        )


def described(
    data: "Demonstrations", choice: "Choice", numbers: Sequence[int], state: bool = True
) -> list[str]:
    """What is taken of demonstrations and what is not, a line each; `state` if it is looked at."""
    lengths = [data.lengths[number] for number in numbers]
    rate = "steps per second unknown" if data.rate is None else f"{data.rate:g} steps per second"
    lines = [
        f"{data.path}: {data.format}, {len(lengths)} of {len(data.lengths)} episodes of "
        f"{min(lengths)} to {max(lengths)} steps, {rate}"
    ]
    for word, names in (("state", choice.state if state else ()), ("action", choice.action)):
        if names:
            lines.append(f"{word}: {_sizes(data, names)}")
    for camera, name in choice.cameras.items():
        shape = data.features[name].shape
        opaque = ", without its opacity" if len(shape) == 3 and 4 in (shape[0], shape[2]) else ""
        lines.append(f"camera {camera}: {name}{opaque}")
    if not state and choice.state:
        lines.append(f"not looked at: {_sizes(data, choice.state)}")
    lines += [f"not taken: {name}: {why}" for name, why in choice.left.items()]
    return lines + [f"note: {note}" for note in data.notes]


def _sizes(data: "Demonstrations", names: Sequence[str]) -> str:
    return " + ".join(f"{name} ({math.prod(data.features[name].shape)})" for name in names)
