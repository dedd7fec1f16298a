"""The vector rasteriser beside that of an earlier commit, in one run.

    OMP_NUM_THREADS=1 python benchmarks/vector_before.py --commit 2c227bd

Each of two processes imports one of the versions, and they take turns, so that what else the
machine does falls on both. CPU milliseconds, medians of the turns, and the median of the ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SCENES = ("64 fills, 600", "512 strokes, 256", "32 gradients, 600")


def scene(name: str) -> tuple[Any, int]:
    """A document and the size it is drawn at."""
    import torch

    from scorefield.sds.vector import (
        Cap,
        Document,
        Join,
        LinearGradient,
        Path,
        Pen,
        RadialGradient,
        Shape,
        Stroke,
        ViewBox,
    )

    kinds, size = name.split(", ")
    count, kind, side = int(kinds.split()[0]), kinds.split()[1], int(size)
    generator = torch.Generator().manual_seed(0)
    shapes = []
    for number in range(count):
        centre = torch.rand(2, generator=generator)
        points = side * (centre + 0.2 * (2 * torch.rand(12, 2, generator=generator) - 1))
        colours = torch.cat([torch.rand(3, 3, generator=generator), torch.full((3, 1), 0.8)], dim=1)
        if kind == "strokes":
            pen = Pen(Cap.ROUND, Join.ROUND)
            stroke = Stroke(colours[0].clone(), torch.tensor(3.0), pen)
            shapes.append(Shape(Path.open(points[:7].clone()), stroke=stroke))
        elif kind == "fills":
            shapes.append(Shape(Path.closed(points), fill=colours[0].clone()))
        else:
            offsets = torch.tensor([0.0, 0.4, 1.0])
            ends = points[0].clone(), points[6].clone()
            paint = (
                LinearGradient(*ends, offsets, colours)
                if number % 2
                else RadialGradient(ends[0], torch.tensor(0.2 * side), offsets, colours)
            )
            shapes.append(Shape(Path.closed(points), fill=paint))
    return Document([*shapes], ViewBox(0, 0, side, side)), side


def measured(name: str) -> dict[str, float]:
    """CPU seconds of the two scans, the forward and the backward pass."""
    import torch

    from scorefield.sds.vector import coverage

    document, side = scene(name)
    found = document.parameters()
    for tensor in (*found.points, *found.colours, *found.widths):
        tensor.requires_grad_()
    spent = 0.0
    scan = coverage._scan

    def timed(*arguments: Any) -> Any:
        nonlocal spent
        begin = time.process_time()
        result = scan(*arguments)
        spent += time.process_time() - begin
        return result

    coverage._scan = timed
    begin = time.process_time()
    image = document.render(side, side)
    drawn = time.process_time()
    coverage._scan = scan
    image.square().mean().backward()
    out = {"scans": spent, "forward": drawn - begin, "backward": time.process_time() - drawn}
    assert torch.isfinite(image).all()
    return out


def work() -> None:
    """Measure the scenes that are named on standard input."""
    for line in sys.stdin:
        print(json.dumps(measured(line.strip())), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", default="2c227bd")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    if options.worker:
        return work()
    root = HERE.parent.parent
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(root), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(before), options.commit], check=True)
        try:
            workers = [
                subprocess.Popen(
                    [sys.executable, str(HERE), "--worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"PYTHONPATH": str(tree / "src")},
                )
                for tree in (before, root)
            ]
            print("| scene | pass | before, ms | now, ms | before / now |\n|---|---|---|---|---|")
            for name in SCENES:
                turns = []
                for turn in range(options.turns + 1):
                    pair = []
                    for worker in workers:
                        assert worker.stdin is not None and worker.stdout is not None
                        worker.stdin.write(name + "\n")
                        worker.stdin.flush()
                        pair.append(json.loads(worker.stdout.readline()))
                    if turn:  # the first one warms up
                        turns.append(pair)
                for part in ("scans", "forward", "backward"):
                    old, new = ([1e3 * pair[i][part] for pair in turns] for i in (0, 1))
                    ratio = statistics.median(a / b for a, b in zip(old, new, strict=True))
                    print(
                        f"| {name} | {part} | {statistics.median(old):.0f} | "
                        f"{statistics.median(new):.0f} | {ratio:.2f} |",
                        flush=True,
                    )
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.close()
                worker.wait()
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)


if __name__ == "__main__":
    main()
