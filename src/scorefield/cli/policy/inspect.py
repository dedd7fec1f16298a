"""`scorefield policy inspect`: what demonstrations hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorefield.cli.command import Outcome, check_image_path, check_unused
from scorefield.cli.policy.demonstrations import DemonstrationsCommand, described

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from scorefield.control.data.formats import Choice, Demonstrations
    from scorefield.control.data.inspection import Inspection

_SHOWN = 5
"""Images of an episode on the sheet, at equal distances."""

_WIDTH = 160
"""Pixels of an image on the sheet."""


@dataclass(frozen=True, kw_only=True)
class PolicyInspect(DemonstrationsCommand):
    """Show what demonstrations hold before a policy is trained on them.

    Prints features, shapes, ranges, rates and lengths, what `policy train` would take, and what to
    look at. Every vector is read; of images those of three episodes.
    """

    out: Path | None = None
    """Image of all cameras to write: the beginning, the middle and the end of three episodes."""

    def run(self) -> Outcome:
        """Look."""
        check_unused(self, "policy inspect", "seed", "device", "dtype")
        if self.out is not None:
            check_image_path(self.out)

        from scorefield.control.data.inspection import inspect, of_images

        data = self.opened()
        numbers = self.numbers(data)
        choice, refused = None, []
        try:
            choice = data.choose(state=self.state, action=self.action, cameras=self.cameras)
        except ValueError as error:
            refused = [str(error)]
            if self.cameras is None:  # then what a training without them would take
                try:
                    choice = data.choose(state=self.state, action=self.action, cameras=())
                except ValueError as other:
                    refused = list(dict.fromkeys([*refused, str(other)]))
        found = inspect(data, choice, numbers)
        sound = [number for number in numbers if number not in found.broken]
        images, unseen = _images(data, choice, sound)
        advice = [*refused, *found.advice, *unseen]
        for camera, frames in images.items():
            advice += of_images(camera, frames.reshape(-1, *frames.shape[2:]))
        lines = _table(data, found)
        if choice is not None:
            lines += described(data, choice, numbers)
        else:
            lines += [f"note: {note}" for note in data.notes]
        lines += [f"look at: {line}" for line in advice]
        broken = list(found.broken.values())
        lines += [f"cannot be trained on: {why}" for why in list(dict.fromkeys(broken))[:5]]
        if self.out is not None and images:
            from scorefield.images import save_image

            lines.append(f"wrote {save_image(self.out, _sheet(data, images, _of(sound)))}")
        problem = None
        if broken:
            problem = (
                f"{len(broken)} of {len(numbers)} episodes cannot be trained on; leave them out "
                "with --episodes"
            )
        elif choice is None:
            problem = f"nothing of it can be trained on: {refused[-1]}"
        return Outcome(_metrics(data, choice, numbers, found, advice), lines, problem)


def _table(data: "Demonstrations", found: "Inspection") -> list[str]:
    """A line per feature: its name, shape, dtype and range."""
    width = max(len(name) for name in data.features)
    kinds = {name: f"{one.dtype} {list(one.shape)}" for name, one in data.features.items()}
    widest = max(map(len, kinds.values()))
    lines = []
    for name, one in data.features.items():
        line = f"{name:<{width}}  {one.kind:<8}  {kinds[name]:<{widest}}".rstrip()
        if name in found.low:
            low, high = _short(found.low[name]), _short(found.high[name])
            line += f"  from {low} to {high}"
        lines.append(line)
    return lines


def _short(values: "NDArray[np.float64]") -> str:
    shown = " ".join(f"{value:.3g}" for value in values[:8])
    return f"[{shown}{' ...' if len(values) > 8 else ''}]"


def _metrics(
    data: "Demonstrations",
    choice: "Choice | None",
    numbers: Sequence[int],
    found: "Inspection",
    advice: Sequence[str],
) -> dict[str, Any]:
    features = {
        name: {
            "kind": one.kind,
            "dtype": one.dtype,
            "shape": list(one.shape),
            "low": found.low[name].tolist() if name in found.low else None,
            "high": found.high[name].tolist() if name in found.high else None,
        }
        for name, one in data.features.items()
    }
    taken = None
    if choice is not None:
        taken = {
            "state": list(choice.state),
            "action": list(choice.action),
            "cameras": dict(choice.cameras),
            "left": dict(choice.left),
        }
    return {
        "format": data.format,
        "rate": data.rate,
        "lengths": [data.lengths[number] for number in numbers],
        "features": features,
        "taken": taken,
        "notes": list(data.notes),
        "advice": list(advice),
        "broken": {str(number): why for number, why in found.broken.items()},
    }


def _of(numbers: Sequence[int]) -> list[int]:
    """The first, the middle and the last."""
    return sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]}) if numbers else []


def _images(
    data: "Demonstrations", choice: "Choice | None", numbers: Sequence[int]
) -> tuple[dict[str, "NDArray[np.uint8]"], list[str]]:
    """Images (episodes, shown, H, W, 3) by camera, and which cameras cannot be shown."""
    import numpy as np

    images: dict[str, NDArray[np.uint8]] = {}
    unseen: list[str] = []
    if choice is None:
        return images, unseen
    for camera, name in choice.cameras.items():
        alone = replace(choice, state=(), cameras={camera: name})
        shown = []
        try:
            for episode in data.read(alone, _of(numbers)):
                shown.append(episode.cameras[camera][_places(len(episode))])
        except ValueError as error:
            unseen.append(str(error))
            continue
        sizes = {frames.shape[1:3] for frames in shown}
        if len(sizes) > 1:
            unseen.append(f"camera {camera}: its images are of several sizes, {sorted(sizes)}")
        elif shown:
            images[camera] = np.stack(shown)
    return images, unseen


def _places(steps: int) -> list[int]:
    return [round(i * (steps - 1) / (_SHOWN - 1)) for i in range(_SHOWN)]


def _sheet(
    data: "Demonstrations", images: Mapping[str, "NDArray[np.uint8]"], numbers: Sequence[int]
) -> "Tensor":
    """All cameras below each other, an episode in a row."""
    import torch
    from torch.nn.functional import interpolate, pad

    from scorefield.images import contact_sheet

    sheets = []
    for camera, frames in images.items():
        flat = torch.from_numpy(frames).flatten(0, 1).movedim(-1, 1).float() / 255
        height = max(8, round(_WIDTH * flat.shape[2] / flat.shape[3]))
        small = interpolate(flat, (height, _WIDTH), mode="bilinear", antialias=True)
        labels = [
            f"{camera}, episode {n}" if i == 0 else f"step {step}"
            for n in numbers
            for i, step in enumerate(_places(data.lengths[n]))
        ]
        sheets.append(contact_sheet(small, _SHOWN, labels))
    widest = max(sheet.shape[2] for sheet in sheets)
    return torch.cat([pad(s, (0, widest - s.shape[2], 0, 4), value=1.0) for s in sheets], dim=1)
