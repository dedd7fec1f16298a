"""`scorefield seal`: checksums of a folder of weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Outcome
from scorefield.locks import lock_path


@dataclass(frozen=True, kw_only=True)
class Seal(Command):
    """Write the checksums of all files in a folder; they are checked whenever it is loaded."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A prior, a policy, or another folder of weights."""

    def run(self) -> Outcome:
        """Write the file."""
        from scorefield.integrity import write_seal

        if not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file; give the folder that it is in")
        lock = lock_path(self.folder)  # what is still being written is not sealed
        seal = write_seal(self.folder)
        del lock
        files = len(seal.read_text(encoding="utf-8").splitlines())
        lines = [f"wrote {seal}: {files} files"]
        return Outcome({"out": str(seal), "files": files}, lines)
