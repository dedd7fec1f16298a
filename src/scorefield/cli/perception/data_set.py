"""Commands that take a data set in the place of images, here or with Ray."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scorefield.cli.command import Outcome, PriorCommand, check_folder, check_unused, under_way
from scorefield.domains import Count, NotNegative
from scorefield.integrity import unverified
from scorefield.locks import owned

if TYPE_CHECKING:
    from scorefield.perception.fleet.engines import Engine
    from scorefield.perception.fleet.work import ImageWork
    from scorefield.priors.frozen_prior import FrozenPrior

MOST_ROWS = 64
"""Of a pass of the network, where none are given."""

_OF_RAY = ("address", "workers", "gpus_per_worker")
_OF_DATA = ("split", "engine", "threads", "images_per_file", *_OF_RAY)


@dataclass(frozen=True, kw_only=True)
class ImagesCommand(PriorCommand):
    """A command that says something of each image: of some files, or of a data set.

    Of files it prints what it finds. Of a data set it writes Parquet files, a row for each image,
    and the same bits whoever does it.
    """

    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE ...")]
    """Images of any size and mode; the prior sees their middle square."""
    data: tuple[Literal["imagefolder", "webdataset", "parquet"], Path] | None = None
    """Data set in place of IMAGE: how it is kept, and its folder. imagefolder is all images in it
    and below, webdataset its shards, parquet its tables; --out is then a folder of tables."""
    split: str = ""
    """Folder below that of --data, or what the names of shards and tables begin with."""
    engine: Literal["local", "ray"] = "local"
    """Processes that go through --data: this one, or workers of Ray with a prior each."""
    address: str | None = None
    """Ray cluster to use, HOST:PORT or auto, on a machine that belongs to it; None starts one
    here."""
    workers: Count | None = None
    """Number of Ray's workers; None takes as many as the cluster has room for."""
    gpus_per_worker: NotNegative = 0.0
    """Number of GPUs of a worker, also a share such as 0.25; 0 computes on the CPU."""
    threads: Count = 1
    """Threads of each process on --data; with as many, the results have the same bits."""
    images_per_file: Count = 64
    """Images in a Parquet file, and what an interruption may cost each worker."""
    resume: bool = False
    """Go on with what was begun in --out: what is there, and is of images that have not changed
    since, is not done again."""

    def check(self) -> None:
        """Refuse images and a data set, or neither, and options that would be ignored."""
        if self.data is None:
            if not self.images:
                raise ValueError(
                    "no image is given; name one or several files, or a data set with --data"
                )
            check_unused(self, "IMAGE, only by --data", *_OF_DATA)
            return
        if self.images:
            raise ValueError("IMAGE and --data are two sources; give one of them")
        if getattr(self, "out", None) is None:
            raise ValueError("--data needs --out, a folder for the files of results")
        if self.engine == "local":
            check_unused(self, "--engine local", *_OF_RAY)
        elif self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ValueError(
                f"--gpus-per-worker above 1 must be a whole number; got {self.gpus_per_worker:g}"
            )
        elif self.device != "auto" and (self.device == "cpu") == (self.gpus_per_worker > 0):
            raise ValueError(
                f"--device {self.device} and --gpus-per-worker {self.gpus_per_worker:g} "
                "contradict each other; leave --device out"
            )

    def rows_in_a_pass(self, prior: "FrozenPrior", prompt: str) -> int:
        """--batch-size, or what memory has room for; with --data always the same, for its bits."""
        from scorefield.priors.features.memory import rows_in_room

        given: int | None = getattr(self, "batch_size")  # noqa: B009
        if given is not None:
            return given
        rows = MOST_ROWS if self.data is not None else rows_in_room(prior, MOST_ROWS, prompt)
        if rows < MOST_ROWS and not self.quiet:
            print(f"{rows} rows in a pass, for which memory has room", file=sys.stderr)
        return rows

    def work(self) -> "ImageWork":
        """Load the prior, and say what it is asked about images.

        Raises:
            ValueError: it cannot be loaded, or is asked what it does not know.
        """
        raise NotImplementedError

    def over_data(self) -> Outcome:
        """Go through the data set, and write what is missing in --out."""
        out: Path = getattr(self, "out")  # noqa: B009
        assert self.data is not None
        kind, folder = self.data
        check_folder(out, self.resume)
        _check_pyarrow()

        from scorefield.perception.fleet.job import check_settings, go_through
        from scorefield.perception.fleet.parts import parts_of

        with self._engine() as engine:
            parts = parts_of(kind, folder, self.split, self.images_per_file)
            settings = {
                "data": kind, "split": self.split, "images_per_file": self.images_per_file,
                "threads": self.threads, **engine.prepare(),
            }  # fmt: skip
            check_settings(out, settings)
            with owned(out), under_way():
                summary = go_through(engine, parts, out, settings, progress=not self.quiet)
        metrics: dict[str, Any] = {
            "out": str(out),
            "files": len(parts) - len(summary.lost),
            "images": summary.images,
            "damaged": summary.damaged,
            **settings,
        }
        lines = [f"wrote {out}: {summary.images} images in {metrics['files']} files"]
        return Outcome(metrics, lines, summary.problem())

    @contextmanager
    def _engine(self) -> "Iterator[Engine]":
        from scorefield.perception.fleet.engines import local_engine, ray_engine

        if self.engine == "local":
            with local_engine(self.work, self.threads) as engine:
                yield engine
            return
        device = self.device if self.gpus_per_worker else "cpu"
        theirs = replace(self, device=device, quiet=True)
        with ray_engine(
            theirs._work_of_worker, self.threads, address=self.address, workers=self.workers,
            gpus=self.gpus_per_worker,
        ) as engine:  # fmt: skip
            yield engine

    def _work_of_worker(self) -> "ImageWork":
        with unverified() if self.unverified else nullcontext():
            return self.work()


def _check_pyarrow() -> None:
    """Refuse to begin without pyarrow, which writes the results."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ValueError("pyarrow is not installed; pip install pyarrow") from error
