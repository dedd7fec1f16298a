"""What is set of any distillation. The command line shows it without loading torch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scorefield.domains import check_numbers
from scorefield.sds.levels import LevelRange, Levels

if TYPE_CHECKING:
    from scorefield.sds.objective import Objective


def _sds() -> "Objective":
    from scorefield.sds.objective import SDS

    return SDS()


@dataclass(frozen=True)
class DistillationSettings:
    """How a prior is distilled, whatever the generator.

    prompt: what to make.
    negative: prompt that guidance leads away from; "" leads away from no prompt.
    steps: updates; the schedules span them.
    guidance: classifier-free guidance scale (DreamFusion's omega = 100 is 101 here).
    objective: what makes a gradient of the prior.
    image: weight of HiFA's image loss, which compares the images with the decoded x0; 0 saves the
        decoding.
    levels: noise levels looked at.
    clip: largest root mean square of an image's latent gradient; 0 does not clip.
    seed: seed of all random numbers.
    """

    prompt: str
    negative: str = ""
    steps: int = 300
    guidance: float = 7.5
    objective: "Objective" = field(default_factory=_sds)
    image: float = 0.0
    levels: Levels = LevelRange(0.02, 0.98, 0.3)  # noqa: RUF009  (frozen)
    clip: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("image", "clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0; got {getattr(self, name)}")
