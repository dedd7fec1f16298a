"""What is set of any distillation. The command line shows it without loading torch."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from scorefield.domains import Count, NotNegative, Whole, check_numbers
from scorefield.sds.levels import LevelRange, Levels

if TYPE_CHECKING:
    from scorefield.sds.objective import Objective


# threestudio renders an eighth of the prior's side; half of that again is a blur to any prior.
_SMALLEST_SHARE = 16


def _sds() -> "Objective":
    from scorefield.sds.objective import SDS

    return SDS()


def check_made(name: str, value: object, has: str, such_as: str) -> None:
    """Refuse a name, or a class in place of its object, where an object is set.

    has: the method that shows what it is.
    such_as: how one is made.

    Raises:
        ValueError: it has no such method, or is a class.
    """
    if isinstance(value, type) or not hasattr(value, has):
        raise ValueError(f"{name} must be an object, such as {such_as}; got {value!r:.80}")


@dataclass(frozen=True)
class DistillationSettings:
    """How a prior is distilled, whatever the generator.

    prompt: what to make.
    negative: prompt that guidance leads away from; "" leads away from no prompt.
    steps: updates; the schedules span them.
    scale: classifier-free guidance scale (DreamFusion's omega = 100 is 101 here).
    objective: what makes a gradient of the prior.
    image: weight of HiFA's image loss, which compares the images with the decoded x0; 0 saves the
        decoding.
    levels: noise levels looked at.
    clip: largest root mean square of an image's latent gradient; 0 does not clip.
    seed: seed of all random numbers.
    """

    prompt: str
    negative: str = ""
    steps: Count = 300
    scale: float = 7.5
    objective: "Objective" = field(default_factory=_sds)
    image: NotNegative = 0.0
    levels: Levels = LevelRange(0.02, 0.98, 0.3)  # noqa: RUF009  (frozen)
    clip: NotNegative = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_made("objective", self.objective, "__call__", "SDS() or VSD() of scorefield.sds")
        check_made("levels", self.levels, "draw", "LevelRange(0.02, 0.98) of scorefield.sds")


@dataclass(frozen=True)
class RenderedSettings(DistillationSettings):
    """How a generator is distilled that renders at any size: small at first, to be fast and broad.

    preset: name of the preset that the values are from, for the run's config; "" is none.
    size: side of the rendered views, pixels; 0 takes the prior's. Views of another size are
        enlarged to the prior's before they are encoded.
    later_sizes: sides that follow over the run.
    later_from: share of the run at which each of the later sizes begins; none is equal shares.
    """

    preset: str = ""
    size: Whole = 0
    later_sizes: tuple[Count, ...] = ()
    later_from: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = self.later_from
        if shares and (
            len(shares) != len(self.later_sizes)
            or not all(low < high for low, high in pairwise((0.0, *shares, 1.0)))
        ):
            raise ValueError(
                "later_from must be rising shares of the run between 0 and 1, one for each of "
                f"the {len(self.later_sizes)} later_sizes; got {shares}"
            )

    def size_at(self, progress: float, own: int) -> int:
        """The side of the views when `progress` in [0, 1] of the run is done.

        own: the prior's, pixels.
        """
        count = len(self.later_sizes)
        shares = self.later_from or tuple((i + 1) / (count + 1) for i in range(count))
        sides = (self.size or own, *self.later_sizes)
        return sides[sum(progress >= share for share in shares)]

    def check_sizes(self, own: int) -> None:
        """Raise ValueError for a size that holds nothing a prior of that own size knows."""
        for side in (self.size or own, *self.later_sizes):
            if side < max(2, own // _SMALLEST_SHARE):
                raise ValueError(
                    f"size must be at least {max(2, own // _SMALLEST_SHARE)} pixels with a prior "
                    f"of {own} pixels, or 0 for its own; got {side}"
                )
