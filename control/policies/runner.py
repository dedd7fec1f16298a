"""Acts with an exported policy; needs numpy and onnxruntime, and nothing else.

    from runner import ExportedPolicy

    policy = ExportedPolicy("FOLDER")
    actions = policy.act({"state": states}, seed=0)

This file stands by itself: `scorefield policy export` puts a copy of it beside the policy.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

_NEEDED = {"spaces", "horizons", "observations", "actions", "bound", "steps"}


class ExportedPolicy:
    """A policy from the folder that `scorefield policy export` wrote.

    Args:
        folder: with policy.json, encoder.onnx and denoiser.onnx, which are compared with the
            checksums in scorefield.sha256 if it is there.
        threads: of onnxruntime; 0 for as many as there are cores.
        unverified: load the files even if they differ from their checksums.

    Attributes:
        config: what policy.json says: spaces, horizons, normalizer of the actions, steps.

    Raises:
        ValueError: a file is missing, damaged, or not the one that was sealed; it is named.
    """

    def __init__(
        self, folder: str | os.PathLike[str], threads: int = 1, *, unverified: bool = False
    ) -> None:
        folder = Path(folder)
        if not unverified:
            _check_seal(folder)
        try:
            self.config: dict[str, Any] = json.loads((folder / "policy.json").read_text("utf-8"))
            missing = _NEEDED - set(self.config)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{folder / 'policy.json'}: cannot be read ({error})") from error
        if missing:
            raise ValueError(f"{folder / 'policy.json'}: lacks {sorted(missing)}; export again")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._encoder, self._denoiser = (
            _session(folder / name, options) for name in ("encoder.onnx", "denoiser.onnx")
        )

    def act(
        self,
        observations: Mapping[str, Any],
        *,
        task: str | None = None,
        seed: int = 0,
        noise: Any = None,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The next Ta actions, float32 (B, Ta, A), in the environment's units and bounds.

        Without a batch axis in the observations the actions have none, either.

        Args:
            observations: the last To of each, the present one last: "state" (B, To, D) in the
                environment's units, and per camera (B, To, 3, H, W) in [0, 1].
            task: one of the texts in policy.json, for a policy that was trained with them.
            seed: of the noise; take another one for every chunk.
            noise: standard normal (B, Tp, A), instead of a seed; B is 1 without a batch axis. For
                a policy whose sampler adds noise on the way, (B, steps, Tp, A).

        Raises:
            ValueError: an observation is missing, of another shape or not finite, or the actions
                are not finite.
        """
        if task is not None:
            observations = self._told(observations, task)
        config, (seen, alone) = self.config, self._checked(observations)
        horizons, spaces = config["horizons"], config["spaces"]
        drawn = config.get("noise", [horizons["horizon"], spaces["action"]])
        size = (len(next(iter(seen.values()))), *drawn)
        if noise is None:
            noise = np.random.default_rng(seed).standard_normal(size)
        noise = np.asarray(noise, dtype=np.float32)
        if noise.shape != size:
            raise ValueError(f"noise must have shape {size}, got {noise.shape}")
        (prepared,) = self._encoder.run(None, seen)
        chunk = self._walk(noise, prepared)
        scale, offset = (np.float32(config["actions"][name]) for name in ("scale", "offset"))
        first = horizons["n_obs_steps"] - 1
        actions = (chunk[:, first : first + horizons["n_action_steps"]] - offset) / scale
        if not np.isfinite(actions).all():
            raise ValueError("the policy's actions are not finite; hold the robot")
        actions = np.clip(actions, np.float32(spaces["low"]), np.float32(spaces["high"]))
        return actions[0] if alone else actions

    def _walk(self, noise: Any, prepared: Any) -> Any:
        """x = p z + q out, x0 = clip(x), z' = a z + b x0 + c before + d x + e noise."""
        bound = np.inf if self.config["bound"] is None else self.config["bound"]
        z, fresh = (noise[:, 0], noise[:, 1:]) if noise.ndim == 4 else (noise, None)
        before = z
        for number, step in enumerate(self.config["steps"]):
            time = np.full(len(z), step["time"], dtype=np.float32)
            (out,) = self._denoiser.run(None, {"chunk": z, "time": time, "prepared": prepared})
            raw = step["x0_of_z"] * z + step["x0_of_out"] * out
            x0 = np.clip(raw, -bound, bound).astype(np.float32)
            z = step["next_of_z"] * z + step["next_of_x0"] * x0 + step["next_of_before"] * before
            z = z + step["next_of_raw"] * raw
            if fresh is not None and step["next_of_noise"]:
                z = z + step["next_of_noise"] * fresh[:, number]
            z, before = z.astype(np.float32), x0
        return z

    def _told(self, observations: Mapping[str, Any], task: str) -> Mapping[str, Any]:
        """The observations, with states that end in the task: 1 where it is, and 0 elsewhere."""
        tasks = self.config["spaces"].get("tasks", [])
        if task not in tasks:
            raise ValueError(f"the policy knows no task {task!r}; it knows {tasks}")
        if "state" not in observations:
            return observations  # refused with all that is needed
        state = np.asarray(observations["state"], dtype=np.float32)
        numbers = np.array([task == text for text in tasks], dtype=np.float32)
        ends = np.broadcast_to(numbers, (*state.shape[:-1], len(tasks)))
        return {**observations, "state": np.concatenate([state, ends], axis=-1)}

    def _checked(self, observations: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """The observations with a batch axis, and whether they had none."""
        expected = self.config["observations"]
        if set(observations) != set(expected):
            raise ValueError(f"observations must be {sorted(expected)}, got {sorted(observations)}")
        seen = {name: np.asarray(observations[name]) for name in expected}
        for name, array in seen.items():
            shape = ", ".join(map(str, expected[name]))
            if expected[name] not in (list(array.shape), list(array.shape[1:])):
                raise ValueError(
                    f"{name!r} must have shape ({shape}) or (batch, {shape}), got {array.shape}"
                )
            if name != "state" and array.dtype.kind != "f":
                raise ValueError(
                    f"{name!r} is {array.dtype}; images are floats in [0, 1]: divide by 255"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{name!r} is not finite; hold the robot, look at its sensors")
            if name != "state" and not -0.01 <= array.min() <= array.max() <= 1.01:
                raise ValueError(
                    f"{name!r} has values from {array.min():g} to {array.max():g}; images are "
                    "floats in [0, 1]: divide by 255"
                )
        rows = {None if list(a.shape) == expected[name] else len(a) for name, a in seen.items()}
        if len(rows) > 1:
            shapes = ", ".join(f"{name!r} {array.shape}" for name, array in seen.items())
            raise ValueError(f"observations must be of one batch, got {shapes}")
        alone = rows == {None}
        return {name: np.float32(a[None] if alone else a) for name, a in seen.items()}, alone


def _check_seal(folder: Path) -> None:
    """Compares the files with their checksums, in the format of sha256sum, if there are any."""
    seal = folder / "scorefield.sha256"
    if not seal.is_file():
        return
    for line in seal.read_text("utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file}: is missing, or {seal} is damaged; copy the folder again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{file}: is not the file that was exported; copy the folder again")


def _session(file: Path, options: Any) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # onnxruntime has a kind of its own for each way of damage
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: cannot be read ({reason}); copy the folder again") from error
