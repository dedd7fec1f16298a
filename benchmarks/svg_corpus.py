"""How other people's SVG files are read and drawn, against resvg.

    OMP_NUM_THREADS=1 python benchmarks/svg_corpus.py --cache ~/.cache/svg-corpus --out corpus.json

Fetches icon sets with `npm pack` and Debian's drawings with `apt-get download`, makes some plots
with matplotlib, takes files of each at equal steps of their sorted names, and draws each on white,
its longer side of 200 pixels. `--per-set 0` takes all. Prints a table, and writes one line for each
file.
"""

import argparse
import json
import subprocess
import tarfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from scorefield.files import whole_folder, write_text
from scorefield.sds.svg.resvg import render_with_resvg
from scorefield.sds.vector import Document, load_svg

NPM = (
    "@twemoji/svg@15.0.0",
    "openmoji@17.0.0",
    "devicon@2.17.0",
    "simple-icons@16.37.0",
    "flag-icons@7.5.0",
    "@tabler/icons@3.52.0",
    "cryptocurrency-icons@0.18.1",
    "super-tiny-icons@0.6.0",
    "material-icon-theme@5.38.1",
    "payment-icons@1.2.1",
    "svg-country-flags@1.2.10",
    "bootstrap-icons@1.13.2",
)
DEBIAN = ("openclipart-svg", "adwaita-icon-theme", "tango-icon-theme")
SIZE, FINE = 200, 8
CLOSE = 0.01
"""Mean absolute error over pixels and channels that counts as the same image."""


@dataclass(frozen=True)
class Result:
    """One file: how far its image is from resvg's, or what was said.

    fine: of an image that is not close, how far it is from resvg's drawn 8 times as large.
    """

    set: str
    file: str
    error: float | None
    left_out: str = ""
    refused: str = ""
    failed: str = ""
    fine: float | None = None
    seconds: float = 0.0


def fetch_npm(package: str, cache: Path) -> Path:
    """The SVG files of a package, in a folder of the cache."""
    folder = cache / package.replace("/", "_")
    if not folder.exists():
        with whole_folder(folder) as part:
            subprocess.run(["npm", "pack", "--silent", package], cwd=part, check=True)
            archive = next(part.glob("*.tgz"))
            with tarfile.open(archive) as tar:
                tar.extractall(part, [m for m in tar if m.name.endswith(".svg")], filter="data")
            archive.unlink()
    return folder


def fetch_debian(package: str, cache: Path) -> Path:
    """The files of a Debian package, in a folder of the cache."""
    folder = cache / f"debian_{package}"
    if not folder.exists():
        with whole_folder(folder) as part:
            subprocess.run(["apt-get", "download", "-qq", package], cwd=part, check=True)
            archive = next(part.glob("*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive, part], check=True)
            archive.unlink()
    return folder


def make_plots(cache: Path) -> Path:
    """Plots of matplotlib's, with text as paths and as text."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    import numpy as np

    folder = cache / f"matplotlib_{matplotlib.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    x = np.linspace(0, 6, 50)
    random = np.random.default_rng(0)
    draw = {
        "lines": lambda ax: [ax.plot(x, np.sin(x + i), "--o", markersize=3) for i in range(3)],
        "bars": lambda ax: ax.bar(range(5), [1, 3, 2, 5, 4], hatch="//", edgecolor="k"),
        "hist": lambda ax: ax.hist(random.normal(size=200), bins=20, alpha=0.5, hatch="xx"),
        "scatter": lambda ax: ax.scatter(*random.random((2, 80)), c=x[:40].repeat(2)),
        "pie": lambda ax: ax.pie([1, 2, 3], shadow=True, labels=["a", "b", "c"]),
        "contour": lambda ax: ax.contourf(np.outer(np.sin(x), np.cos(x))),
        "fill": lambda ax: ax.fill_between(x, np.sin(x), alpha=0.3),
        "quiver": lambda ax: ax.quiver(*random.random((4, 20))),
        "box": lambda ax: ax.boxplot([random.normal(size=30) for _ in range(4)]),
        "polygon": lambda ax: ax.fill(*random.random((2, 12))),
    }
    for name, plot in draw.items():
        for font in ("path", "none"):
            path = folder / f"{name}-{font}.svg"
            if path.exists():
                continue
            with plt.rc_context({"svg.fonttype": font, "svg.hashsalt": "0"}):
                figure, axes = plt.subplots(figsize=(4, 4))
                plot(axes)
                axes.set_title("A plot")
                figure.savefig(path, metadata={"Date": None})
                plt.close(figure)
    return folder


def chosen(folder: Path, count: int) -> list[Path]:
    """Files at equal steps of their sorted names; all of them if count is 0."""
    files = sorted(p for p in folder.rglob("*.svg") if p.is_file() and not p.is_symlink())
    if not count or len(files) <= count:
        return files
    return [files[i * len(files) // count] for i in range(count)]


def measure(name: str, path: Path, root: Path) -> Result:
    """Read, draw and compare one file, at resvg's size."""
    shown = str(path.relative_to(root))
    said = failed = refused = ""
    document: Document | None = None
    begin = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            document = load_svg(path)
            document.render(8, 8)
        except ValueError as error:
            refused = str(error).removeprefix(str(path))
        except Exception:
            failed = traceback.format_exc(limit=-3)
    said = " ".join(str(w.message).removeprefix(f"{path}: ") for w in caught)
    try:
        theirs = render_with_resvg(path.read_text(encoding="utf-8", errors="replace"), SIZE)
    except Exception as error:
        return Result(name, shown, None, said, refused or f"resvg: {error}", failed)
    if document is None or failed:
        return Result(name, shown, None, said, refused, failed)
    # resvg rounds the image's sides to whole pixels and stretches the drawing onto them.
    _, _, width, height = document.view_box
    size = document.size or (width, height)
    if abs(size[0] * height - size[1] * width) < 1e-3 * size[0] * height:
        document = replace(document, aspect="none")
    own = document.render(*theirs.shape[1:], torch.ones(3))
    seconds = time.process_time() - begin
    error = float((own - theirs).abs().mean())
    fine = None
    if error > CLOSE:
        # Lines thinner than a pixel: resvg draws them a pixel wide and paler.
        large = render_with_resvg(path.read_text(encoding="utf-8", errors="replace"), FINE * SIZE)
        seen = F.interpolate(large[None], size=own.shape[1:], mode="area")[0]
        fine = float((own - seen).abs().mean())
    return Result(name, shown, error, said, fine=fine, seconds=seconds)


def corpus(cache: Path, count: int) -> list[tuple[str, Path, Path]]:
    """Name of the set, file and folder of everything that is looked at."""
    sets = [(p.rpartition("@")[0], fetch_npm(p, cache)) for p in NPM]
    sets += [(p, fetch_debian(p, cache)) for p in DEBIAN]
    sets.append(("matplotlib", make_plots(cache)))
    return [(name, path, folder) for name, folder in sets for path in chosen(folder, count)]


def table(results: list[Result]) -> list[str]:
    """Markdown: one row for each set, and one for all."""
    lines = [
        "| set | files | within 0.01 | largest error | something named | refused | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    names = list(dict.fromkeys(r.set for r in results))
    for name in [*names, "all"]:
        some = [r for r in results if name in ("all", r.set)]
        errors = [r.error for r in some if r.error is not None]
        lines.append(
            f"| {name} | {len(some)} | {sum(e <= CLOSE for e in errors)} | "
            f"{max(errors, default=0):.4f} | {sum(bool(r.left_out) for r in some)} | "
            f"{sum(bool(r.refused) for r in some)} | {sum(bool(r.failed) for r in some)} |"
        )
    return lines


def main() -> None:
    """Print the table and what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-set", type=int, default=30)
    options = parser.parse_args()
    results = []
    for name, path, folder in corpus(options.cache.resolve(), options.per_set):
        results.append(measure(name, path, folder))
        if len(results) % 50 == 0:
            print(f"{len(results)} files", flush=True)
    write_text(options.out, "\n".join(json.dumps(asdict(r)) for r in results) + "\n")
    print("\n".join(table(results)))
    for r in results:
        if r.error is None or r.error > CLOSE:
            said = r.refused or r.failed or r.left_out or "nothing was named"
            error = "-" if r.error is None else f"{r.error:.4f}"
            fine = "-" if r.fine is None else f"{r.fine:.4f}"
            print(f"| {r.set} {r.file.rpartition('/')[2]} | {error} | {fine} | {said[:160]} |")


if __name__ == "__main__":
    main()
