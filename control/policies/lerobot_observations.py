"""Observations by LeRobot's names, as policies here take them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from scorefield.arrays import tensor_of
from scorefield.control.data.formats.features import UNLIKE_IMAGE, camera_names
from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.data.windows import frames_to_tensor

STATE, ENVIRONMENT = "observation.state", "observation.environment_state"
IMAGE, IMAGES = "observation.image", "observation.images."  # and the name of a camera


def of_lerobot(observations: Mapping[str, Any], spaces: PolicySpaces) -> Mapping[str, Any]:
    """By our names, where there are LeRobot's; others are given back as they are.

    `observation.images.NAME` is the camera NAME, and `observation.image` is image; frames
    (..., H, W, 3) of uint8 become images in [0, 1]. The state is `observation.state`, and
    `observation.environment_state` after it where the policy sees more numbers.
    """
    if not any(name.startswith("observation.") for name in observations):
        return observations
    images = [name for name in observations if name.startswith("observation.image")]
    found = {name: _image(observations[one]) for name, one in camera_names(images).items()}
    # a lone camera is called otherwise where there are more, and was called image before
    own = names_of_cameras(spaces.images)
    if "image" in own and own["image"] not in observations:
        own["image"] = UNLIKE_IMAGE
    found |= {name: _image(observations[one]) for name, one in own.items() if one in observations}
    found |= {
        name: value for name, value in observations.items() if not name.startswith("observation.")
    }
    if STATE in observations:
        parts = [tensor_of(observations[STATE], STATE)]
        if ENVIRONMENT in observations and parts[0].shape[-1] < spaces.state - len(spaces.tasks):
            parts.append(tensor_of(observations[ENVIRONMENT], ENVIRONMENT))
        found["state"] = torch.cat(parts, dim=-1)
    elif ENVIRONMENT in observations:
        found["state"] = observations[ENVIRONMENT]
    return found


def names_of_cameras(cameras: Iterable[str]) -> dict[str, str]:
    """LeRobot's features by the names of cameras: `observation.images.NAME`.

    A lone camera called image is `observation.image`, as LeRobot calls the one of an environment
    that has no name, such as that of its Push-T.
    """
    names = list(cameras)
    if names == ["image"]:
        return {"image": IMAGE}
    whole = "observation."  # a name that two cameras would have had
    return {name: name if name.startswith(whole) else f"{IMAGES}{name}" for name in names}


def _image(value: Any) -> Any:
    frames = np.asarray(value)
    if frames.dtype == np.uint8 and frames.shape[-1:] == (3,):
        return frames_to_tensor(frames)
    return value
