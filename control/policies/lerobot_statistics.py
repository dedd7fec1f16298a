"""How LeRobot's policies normalise: statistics of their data, from wherever a version keeps them.

Today's policies have them beside the model, in two pipelines of steps (policy_preprocessor.json and
policy_postprocessor.json, with a file of tensors for a step that has some); those before 0.4 have
them as buffers of the model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from scorefield.control.data.normalizer import Normalizer
from scorefield.files import parse_json

PIPELINES = ("policy_preprocessor.json", "policy_postprocessor.json")

Statistics = dict[str, dict[str, Tensor]]
"""min, max, mean, std or quantiles by the name of a feature."""

_PLAIN = {"to_batch_processor", "device_processor"}  # of steps that change no numbers
_ENDS = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}
_BUFFERS = ("normalize_inputs.buffer_", "unnormalize_outputs.buffer_", "normalize_targets.buffer_")
_STILL = 1e-6  # of a range that is none: too small to be of a robot


def statistics_of(
    folder: Path, state: Mapping[str, Tensor], features: Mapping[str, Any]
) -> Statistics:
    """Those of a policy's folder.

    Args:
        folder: of the policy.
        state: its weights, in which older versions have them.
        features: of the policy; buffers are called by them, with underscores for dots.

    Raises:
        ValueError: there are none, or a step of the pipelines changes numbers in another way.
    """
    found: Statistics = {}
    for name in PIPELINES:
        if not (folder / name).is_file():
            continue
        for step in parse_json((folder / name).read_text(encoding="utf-8"))["steps"]:
            if _normalises(folder / name, step):
                for key, tensor in load_file(folder / step["state_file"]).items():
                    feature, _, kind = key.rpartition(".")
                    found.setdefault(feature, {})[kind] = tensor
    for key, tensor in state.items():
        prefix = next((one for one in _BUFFERS if key.startswith(one)), None)
        if prefix is not None:
            word, _, kind = key.removeprefix(prefix).rpartition(".")
            named = [name for name in features if name.replace(".", "_") == word]
            found.setdefault((named or [word])[0], {})[kind] = tensor
    if not found:
        raise ValueError(
            f"there are no statistics to normalise by: neither {' and '.join(PIPELINES)} with "
            "their files nor buffers in the model"
        )
    return found


def _normalises(file: Path, step: Mapping[str, Any]) -> bool:
    """Whether a step of a pipeline has statistics; one that would be missed is refused."""
    name = step.get("registry_name") or step.get("class")
    if name in ("normalizer_processor", "unnormalizer_processor"):
        return "state_file" in step
    renames = step.get("config", {}).get("rename_map")
    if name in _PLAIN or (name == "rename_observations_processor" and not renames):
        return False
    raise ValueError(f"{file.name} has the step {name!r} {renames or ''}, which is not followed")


def normalizer_of(mode: str, statistics: Mapping[str, Tensor], *, acts: bool) -> Normalizer:
    """The same normalisation as scales and offsets.

    What never varied, LeRobot divides by 1e-8. Here it is seen as it was in training whatever it
    is, and done as it was.

    Args:
        mode: MIN_MAX, MEAN_STD, QUANTILES or QUANTILE10.
        statistics: of the feature; images have them as (3, 1, 1).
        acts: whether it is of actions, of which the inverse is what matters.

    Raises:
        ValueError: the mode is not known, or its statistics are missing or not finite.
    """
    kinds = ("mean", "std") if mode == "MEAN_STD" else _ENDS.get(mode)
    if kinds is None:
        raise ValueError(f"the normalisation {mode!r} is not known")
    if any(kind not in statistics for kind in kinds):
        raise ValueError(f"{mode} needs {kinds}, and there are {sorted(statistics)}")
    first, second = (statistics[kind].double().flatten() for kind in kinds)
    if not bool((first.isfinite() & second.isfinite()).all()):
        raise ValueError(f"{' or '.join(kinds)} is not finite: training was without statistics")
    centre, half = (first, second) if mode == "MEAN_STD" else ((first + second) / 2, None)
    if half is None:
        half = (second - first) / 2
    still = half <= _STILL * first.abs().clamp(min=1) / 2
    # MIN_MAX takes the value that never varied to -1, MEAN_STD to 0
    place = 0.0 if mode == "MEAN_STD" else -1.0
    if acts:
        scale = 1 / torch.where(still, _STILL * first.abs().clamp(min=1) / 2, half)
        return Normalizer(scale, torch.where(still, place - first * scale, -centre * scale))
    scale = torch.where(still, 0.0, 1 / torch.where(still, 1.0, half))
    return Normalizer(scale, torch.where(still, place, -centre * scale))
