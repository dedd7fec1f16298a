"""`scorefield policy export`: a policy for robots that have no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scorefield.cli.command import Command, Failed, Outcome, check_folder, check_unused
from scorefield.domains import Whole
from scorefield.files import part_path
from scorefield.integrity import SEAL
from scorefield.locks import owned

FILES = ("encoder.onnx", "denoiser.onnx", "policy.json", "runner.py")
"""What an export holds beside its seal, which comes last."""

LEROBOT_FILES = (
    "config.json",
    "model.safetensors",
    "policy_preprocessor.json",
    "policy_preprocessor_step_3_normalizer_processor.safetensors",
    "policy_postprocessor.json",
    "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
)
"""The same of an export for LeRobot."""


@dataclass(frozen=True, kw_only=True)
class PolicyExport(Command):
    """Write a policy as ONNX, with a runner that needs numpy and onnxruntime alone, and try it.

    OUT gets encoder.onnx, denoiser.onnx, policy.json and runner.py; with --format lerobot, what
    LeRobot reads as a diffusion policy of its own.
    """

    policy: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="POLICY")]
    """Folder of the policy, or of its training."""
    out: Path
    """Folder of the exported policy, new, empty or of an export that was stopped."""
    format: Literal["onnx", "lerobot"] = "onnx"
    """Write ONNX and a runner, or config.json, model.safetensors and processors for LeRobot."""
    environment_state: Whole = 0
    """With --format lerobot: how many of the state's last numbers are LeRobot's
    observation.environment_state, which its policies of states need."""

    def run(self) -> Outcome:
        """Export."""
        check_unused(self, "policy export", "device", "dtype")
        self._check_out()
        if self.format != "lerobot":
            check_unused(self, f"policy export --format {self.format}", "environment_state")

        from scorefield.control.policies.export import export_policy
        from scorefield.control.policies.lerobot_export import export_to_lerobot
        from scorefield.control.policies.loading import load_policy

        policy = load_policy(self.policy)
        with owned(self.out):
            self._check_out()  # another run may have written it since
            try:
                if self.format == "lerobot":
                    difference = export_to_lerobot(
                        policy, self.out, environment_state=self.environment_state, seed=self.seed
                    )
                else:
                    difference = export_policy(policy, self.out, seed=self.seed)
            except RuntimeError as error:
                raise Failed(str(error)) from error
        size = sum(path.stat().st_size for path in self.out.iterdir())
        metrics = {"out": str(self.out), "difference": difference, "bytes": size}
        sampler = "by LeRobot's sampler " if self.format == "lerobot" else ""
        lines = [
            f"wrote {self.out}, {size / 1e6:.1f} MB",
            f"its actions {sampler}differ from the policy's by {difference:.1e} of their half "
            "range at most",
        ]
        return Outcome(metrics, lines)

    def _check_out(self) -> None:
        """Refuse a folder that holds something else than the parts of an export, without a seal."""
        files = LEROBOT_FILES if self.format == "lerobot" else FILES
        parts = {one for name in files for one in (name, part_path(name).name)}
        parts.add(part_path(SEAL).name)  # a seal that was never finished
        there = {path.name for path in self.out.iterdir()} if self.out.is_dir() else set()
        check_folder(self.out, resume=True if there <= parts else None)
