"""What a prior is asked of a view: the camera itself, or its name in words."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scorefield.cameras import Cameras, view_prompt
from scorefield.priors.prior import ImagePrior
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.nerf.settings import ON_WHITE
from scorefield.views import view_name

__all__ = ["AskedViews", "asked_views", "check_views"]


@dataclass(frozen=True)
class AskedViews:
    """What a prior is told of a batch of views.

    prompts: one for each view.
    cameras: that see them; None where the prompts name the views.
    """

    prompts: Sequence[str]
    cameras: Cameras | None


def asked_views(
    prior: ImagePrior, prompt: str, cameras: Cameras, white: Sequence[bool] = ()
) -> AskedViews:
    """A prompt as a prior is asked for it from cameras.

    A prior that is told cameras gets them exactly and the prompt as it is; any other gets the
    name of each view after the prompt.

    white: which of the views are on white, and the prompt to say so; of none it does not.
    """
    prompts = [prompt] * len(cameras)
    if prior.cameras is None:
        prompts = [view_prompt(prompt, view) for view in cameras.views]
    for number, said in enumerate(white):
        if said:
            prompts[number] = ON_WHITE.format(prompts[number])
    return AskedViews(prompts, cameras if prior.cameras is not None else None)


def check_views(prior: ImagePrior, prompt: str, cameras: CameraDistribution) -> None:
    """Refuse now a prior that would not know what to say of a camera.

    Warns of cameras outside the ranges that a prior was trained on.

    Raises:
        ValueError: the prior is told no cameras and knows no words for views.
    """
    if prior.cameras is not None:
        if outside := cameras.outside(prior.cameras):
            warnings.warn(
                f"{prior.name} was not trained on all of these cameras, and guesses elsewhere: "
                f"{'; '.join(outside)}",
                stacklevel=3,
            )
        return
    views = [view_name(azimuth, 0.0) for azimuth in (0.0, 90.0, 180.0)] + [view_name(0.0, 90.0)]
    try:
        prior.condition([view_prompt(prompt, view) for view in views])
    except ValueError as error:
        raise ValueError(
            f"the prior {prior.name} knows no views such as {views[0]!r}, so it cannot say what an "
            "object looks like from its other sides; take one that does, such as shapes"
        ) from error
