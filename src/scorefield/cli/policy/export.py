"""`scorefield policy export`: a policy for robots that have no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Failed, Outcome, check_folder, check_unused


@dataclass(frozen=True, kw_only=True)
class PolicyExport(Command):
    """Write a policy as ONNX, with a runner that needs numpy and onnxruntime alone, and try it.

    OUT gets encoder.onnx, denoiser.onnx, policy.json and runner.py.
    """

    policy: Annotated[Path, tyro.conf.Positional]
    """Folder of the policy."""
    out: Path
    """Folder of the exported policy, new or empty."""

    def run(self) -> Outcome:
        """Export."""
        check_unused(self, "policy export", "device", "dtype")
        check_folder(self.out)

        from scorefield.control.policies.export import export_policy
        from scorefield.control.policies.loading import load_policy

        policy = load_policy(self.policy)
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
