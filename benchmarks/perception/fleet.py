"""What a second worker of Ray brings, and what the process that deals the parts out holds.

    OMP_NUM_THREADS=1 python benchmarks/perception/fleet.py --out runs/fleet

Tiny images of noise, one layer of `digits`, one draw each: little work per image, so that what is
not work shows. Every job is a process of its own, in turn: one process with one thread, one worker,
two workers. `seconds` is all of it, from the command to its end; `rate` is images per second
between the first file and the last, without starting Ray and loading priors. Workers have the
priority of the process they are compared with (Ray's own is lower). OUT gets fleet.json.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scorefield.cli.command import Command, Outcome, check_folder
from scorefield.cli.main import run_command
from scorefield.domains import Count
from scorefield.files import write_json

PROGRAM = "python benchmarks/perception/fleet.py"

JOBS = {
    "one process": ["--engine", "local"],
    "1 worker": ["--engine", "ray", "--workers", "1"],
    "2 workers": ["--engine", "ray", "--workers", "2"],
}

MILLION = 1_000_000

# ru_maxrss is of this process alone, not of the workers.
DRIVER = """
import json, resource, sys
from scorefield.cli.main import main
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"code": code, "peak": round(peak, 1)}))
"""


@dataclass(frozen=True, kw_only=True)
class Fleet(Command):
    """Measure a local fleet."""

    out: Path
    """Folder of the images, the results and fleet.json; new or empty."""
    counts: tuple[Count, ...] = (1_000, 10_000)
    """Numbers of images, in growing order."""
    images_per_file: Count = 64
    """Images in a Parquet file."""
    rounds: Count = 1
    """Times that each job is done; the fastest counts."""

    def run(self) -> Outcome:
        """Make images, run the jobs, write the table."""
        check_folder(self.out)
        rows = []
        for count in self.counts:
            images = make_images(self.out / f"images-{count}", count, self.seed)
            for name, words in JOBS.items():
                tries = [self._job(images, count, name, words, i) for i in range(self.rounds)]
                rows.append(min(tries, key=lambda row: row["seconds"]))
                print(json.dumps(rows[-1]), file=sys.stderr)
        metrics = {"rows": rows, "ratios": ratios(rows), "driver": driver_memory(rows)}
        write_json(self.out / "fleet.json", metrics)
        return Outcome(metrics, lines_of(metrics))

    def _job(
        self, images: Path, count: int, name: str, words: list[str], number: int
    ) -> dict[str, Any]:
        out = self.out / f"{name.replace(' ', '-')}-{count}-{number}"
        command = [
            sys.executable, "-c", DRIVER, "features", "--prior", "digits", "--device", "auto",
            "--layers", "mid", "--ensemble", "1", "--data", "imagefolder", str(images),
            "--images-per-file", str(self.images_per_file), "--out", str(out), "--quiet", *words,
        ]  # fmt: skip
        begun = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
        )  # fmt: skip
        seconds = time.monotonic() - begun
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["code"] == 0, done.stderr
        times = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
        first = 2 if name == "2 workers" else 1  # files that take shape at once
        seconds_left = times[-1] - times[first - 1] if len(times) > first else float("inf")
        rate = (count - first * self.images_per_file) / seconds_left
        return {
            "job": name,
            "images": count,
            "seconds": round(seconds, 2),
            "rate": round(rate, 2),
            "driver_MiB": told["peak"],
        }


def make_images(folder: Path, count: int, seed: int) -> Path:
    """Noise of 8 pixels, 1,000 images in a folder."""
    random = np.random.default_rng(seed)
    for i in range(count):
        path = folder / f"{i // 1000:04d}" / f"{i:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return folder


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two workers against one process of one thread, and against one worker."""
    found = []
    for count in sorted({row["images"] for row in rows}):
        of = {row["job"]: row for row in rows if row["images"] == count}
        two, alone, one = of["2 workers"], of["one process"], of["1 worker"]
        found.append(
            {
                "images": count,
                "seconds": round(alone["seconds"] / two["seconds"], 3),
                "rate": round(two["rate"] / alone["rate"], 3) if alone["rate"] else None,
                "rate_of_one_worker": round(two["rate"] / one["rate"], 3) if one["rate"] else None,
            }
        )
    return found


def driver_memory(rows: list[dict[str, Any]]) -> dict[str, float] | None:
    """Peak resident memory with two workers, by a line through the first and the last count."""
    of = {row["images"]: row["driver_MiB"] for row in rows if row["job"] == "2 workers"}
    least, most = min(of), max(of)
    if least == most:
        return None
    each = (of[most] - of[least]) / (most - least)
    return {
        "bytes_per_image": round(each * 2**20, 1),
        "MiB_for_a_million": round(of[most] + each * (MILLION - most), 1),
    }


def lines_of(metrics: dict[str, Any]) -> list[str]:
    """The table, the ratios, the memory."""
    lines = [f"{'images':>8}  {'job':<12} {'seconds':>9} {'images/s':>9} {'driver MiB':>11}"]
    lines += [
        f"{row['images']:>8}  {row['job']:<12} {row['seconds']:>9.2f} {row['rate']:>9.2f} "
        f"{row['driver_MiB']:>11.1f}"
        for row in metrics["rows"]
    ]
    for one in metrics["ratios"]:
        lines.append(
            f"{one['images']} images: two workers are {one['rate']} times as fast as one process "
            f"({one['seconds']} with all that starts), {one['rate_of_one_worker']} times one worker"
        )
    if metrics["driver"] is not None:
        lines.append(
            f"driver: {metrics['driver']['bytes_per_image']} bytes an image, so that a million "
            f"take {metrics['driver']['MiB_for_a_million']} MiB"
        )
    return lines


if __name__ == "__main__":
    sys.exit(run_command(lambda: Fleet, sys.argv[1:], PROGRAM))
