"""`scorefield policy export`: a policy for robots that have no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Failed, Outcome, check_folder, check_unused
from scorefield.files import part_path
from scorefield.locks import owned

FILES = ("encoder.onnx", "denoiser.onnx", "policy.json", "runner.py")
"""What an export holds beside its seal, which comes last."""


@dataclass(frozen=True, kw_only=True)
class PolicyExport(Command):
    """Write a policy as ONNX, with a runner that needs numpy and onnxruntime alone, and try it.

    OUT gets encoder.onnx, denoiser.onnx, policy.json and runner.py.
    """

    policy: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="POLICY")]
    """Folder of the policy."""
    out: Path
    """Folder of the exported policy, new, empty or of an export that was stopped."""

    def run(self) -> Outcome:
        """Export."""
        check_unused(self, "policy export", "device", "dtype")
        self._check_out()

        from scorefield.control.policies.export import export_policy
        from scorefield.control.policies.loading import load_policy

        policy = load_policy(self.policy)
        with owned(self.out):
            self._check_out()  # another run may have written it since
            try:
                difference = export_policy(policy, self.out, seed=self.seed)
            except RuntimeError as error:
                raise Failed(str(error)) from error
        size = sum(path.stat().st_size for path in self.out.iterdir())
        metrics = {"out": str(self.out), "difference": difference, "bytes": size}
        lines = [
            f"wrote {self.out}, {size / 1e6:.1f} MB",
            f"its actions differ from the policy's by {difference:.1e} of their half range at most",
        ]
        return Outcome(metrics, lines)

    def _check_out(self) -> None:
        """Refuse a folder that holds something else than the parts of an export, without a seal."""
        parts = {one for name in FILES for one in (name, part_path(name).name)}
        there = {path.name for path in self.out.iterdir()} if self.out.is_dir() else set()
        check_folder(self.out, resume=True if there <= parts else None)
