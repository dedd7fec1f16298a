"""Networks of images, by the names of a `DiffusionRgbEncoder` of LeRobot and by ours."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from scorefield.control.networks.settings import LeRobotEncoderSettings

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Blocks of the four stages, by the names of torchvision's ResNets that are read and written."""

_EPS = nn.BatchNorm2d(1).eps


def camera_of_lerobot(
    given: Mapping[str, Tensor], settings: LeRobotEncoderSettings
) -> dict[str, Tensor]:
    """Weights of a camera of `LeRobotEncoder`, from those of a `DiffusionRgbEncoder`.

    Raises:
        KeyError: a weight is missing.
    """
    mine: dict[str, Tensor] = {}
    for ours, theirs, kind in _layers(settings):
        if kind == "norm" and settings.norm == "frozen":
            variance = given[f"{theirs}.running_var"]
            scale = given[f"{theirs}.weight"] / (variance + _EPS).sqrt()
            mine[f"{ours}.scale"] = scale
            mine[f"{ours}.offset"] = (
                given[f"{theirs}.bias"] - scale * given[f"{theirs}.running_mean"]
            )
            continue
        mine[f"{ours}.weight"] = given[f"{theirs}.weight"]
        if kind != "convolution":
            mine[f"{ours}.bias"] = given[f"{theirs}.bias"]
    # the softmax puts x and y of a keypoint side by side there, all x before all y here
    mine["2.weight"] = mine["2.weight"][:, _coordinates(settings.keypoints)]
    return mine


def camera_as_lerobot(
    mine: Mapping[str, Tensor], settings: LeRobotEncoderSettings, size: tuple[int, int]
) -> dict[str, Tensor]:
    """The inverse of `camera_of_lerobot`, with all buffers that are saved there.

    Args:
        mine: weights of a camera of `LeRobotEncoder`.
        settings: of the encoder.
        size: height and width of the images that its ResNet sees.
    """
    given: dict[str, Tensor] = {}
    for ours, theirs, kind in _layers(settings):
        if kind == "norm" and settings.norm == "frozen":
            # as after a training on images of mean 0 and variance 1
            scale = mine[f"{ours}.scale"]
            given[f"{theirs}.weight"] = scale * (1 + _EPS) ** 0.5
            given[f"{theirs}.bias"] = mine[f"{ours}.offset"]
            given[f"{theirs}.running_mean"] = torch.zeros_like(scale)
            given[f"{theirs}.running_var"] = torch.ones_like(scale)
            given[f"{theirs}.num_batches_tracked"] = torch.tensor(0)
            continue
        given[f"{theirs}.weight"] = mine[f"{ours}.weight"]
        if kind != "convolution":
            given[f"{theirs}.bias"] = mine[f"{ours}.bias"]
    places = torch.tensor(_coordinates(settings.keypoints)).argsort()
    given["out.weight"] = given["out.weight"][:, places]
    ys, xs = (torch.linspace(-1, 1, -(-side // 32)) for side in size)
    grid = torch.stack([xs.repeat(len(ys)), ys.repeat_interleave(len(xs))], dim=1)
    return {**given, "pool.pos_grid": grid}


def _layers(
    settings: LeRobotEncoderSettings,
) -> Iterator[tuple[str, str, Literal["convolution", "norm", "map"]]]:
    """(our name, theirs, kind) of every layer with weights; a map is one with a bias."""
    yield "0.stem.0", "backbone.0", "convolution"
    yield "0.stem.1", "backbone.1", "norm"
    number = 0
    for stage, depth in enumerate(settings.blocks):
        for block in range(depth):
            ours, theirs = f"0.blocks.{number}", f"backbone.{4 + stage}.{block}"
            for place, name in ((0, "1"), (3, "2")):
                yield f"{ours}.body.{place}", f"{theirs}.conv{name}", "convolution"
                yield f"{ours}.body.{place + 1}", f"{theirs}.bn{name}", "norm"
            if stage and not block:  # where the size changes
                yield f"{ours}.skip.0", f"{theirs}.downsample.0", "convolution"
                yield f"{ours}.skip.1", f"{theirs}.downsample.1", "norm"
            number += 1
    yield "1.project", "pool.nets", "map"
    yield "2", "out", "map"


def _coordinates(keypoints: int) -> list[int]:
    """Where ours are among theirs."""
    return [*range(0, 2 * keypoints, 2), *range(1, 2 * keypoints, 2)]
