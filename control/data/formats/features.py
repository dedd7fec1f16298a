"""What an array of a data set is, from its name, its shape and its dtype."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scorefield.control.data.episode import observed_as

Kind = Literal["vector", "images", "depth", "other"]

ACTIONS = ("action", "actions")
"""What actions are called in data sets."""

LEAST_SIDE = 8
"""Pixels; smaller arrays of three axes, such as rotations and keypoints of hands, show nothing."""

UNLIKE_IMAGE = "observation.images.image"
"""Another feature of LeRobot's than `observation.image`."""

RECORDS = re.compile(
    r"(.*[./])?(timestamps?([./].*)?|time|stage|(frame|episode|task|subtask)?_?index|next[._].*|"
    r"((time|env|elapsed)_?)?steps?|rewards?|returns?(_to_go)?|discounts?|"
    r"episode_(starts?|ends?|ids?|returns?)|"
    r"dones?|is_(first|last|terminal)|terminals?|terminat(ions?|ed)|truncat(ions?|ed)|timeouts?|"
    r"success|num_samples)"
)
"""Names of what is recorded of a step beside observations and actions."""

_OTHER_ACTIONS = re.compile(r"(.*[./])?(\w*_)?actions?(_\w*)?")
"""Such as last_action, which is known before the action, and rel_actions, which says the same."""


@dataclass(frozen=True)
class Feature:
    """An array of a data set, with a row per step.

    name: its key in the data set.
    shape: of a row.
    dtype: of its numbers, as the data set calls it.
    kind: vector (a row of numbers), images (of colours or greys), depth, or other.
    role: observation or action; empty for what is neither.
    aside: why it is not taken unless it is named; empty if it is taken.
    broken: why it can never be taken; empty if it can.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind
    role: Literal["observation", "action", ""]
    aside: str = ""
    broken: str = ""


def kind_of(name: str, shape: tuple[int, ...], dtype: str) -> Kind:
    """What an array is, from the shape of its rows and the dtype of its numbers."""
    try:
        numbers = np.dtype(dtype)
    except (TypeError, ValueError):
        return "other"
    if numbers.kind not in "fiub" or 0 in shape:
        return "other"
    if len(shape) < 2:
        # Bytes in a long row are a file of an image, or a text.
        return "other" if numbers == np.uint8 and shape and shape[0] > 256 else "vector"
    if len(shape) != 3:
        return "other"
    for channels in (3, 4, 1):
        # The channel comes last, or first; four are colours and opacity, as in simulators.
        if channels in (shape[2], shape[0]):
            sides = shape[:2] if shape[2] == channels else shape[1:]
            break
    else:
        return "other"
    if min(sides) < LEAST_SIDE or (channels == 4 and numbers != np.uint8):
        return "other"
    if channels == 1:
        return "images" if numbers == np.uint8 and "depth" not in name.lower() else "depth"
    return "images"


def role_of(name: str, kind: Kind) -> tuple[Literal["observation", "action", ""], str]:
    """The role of a feature whose format does not tell, and why it is left aside."""
    if name in ACTIONS or re.match(r"actions?[./].", name):
        return "action", ""
    if RECORDS.fullmatch(name):
        return "", "a record of the step, no observation"
    if kind != "images" and _OTHER_ACTIONS.fullmatch(name):  # an action_camera sees
        return "", "an action"
    return "observation", ""


def camera_names(features: Sequence[str]) -> dict[str, str]:
    """Features by the short names of their cameras, no two of which are alike.

    `observation.images.left.rgb` is left.rgb; what would be called `state` or `action`, as other
    observations are, is state_camera or action_camera. A lone `observation.images.image`, such as
    one of LIBERO's two, keeps its whole name, for image is LeRobot's `observation.image`.
    """
    if list(features) == [UNLIKE_IMAGE]:
        return {UNLIKE_IMAGE: UNLIKE_IMAGE}
    prefix = r"(observations?|obs)[./](images?[./])?|images?[./]|cameras/"
    short = {name: re.sub(rf"^({prefix})", "", name) for name in features}
    words = list(short.values())
    return {
        observed_as(word if words.count(word) == 1 else name): name for name, word in short.items()
    }


def natural(name: str) -> list[tuple[bool, int, str]]:
    """The order of names with numbers in them: demo_2 before demo_10."""
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in re.split(r"(\d+)", name)]
