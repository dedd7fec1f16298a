"""A folder with one page of runs that opens from a file: nothing is fetched from a network."""

import base64
import os
import shutil
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from scorefield.files import part_path, whole_file
from scorefield.gallery.plot import plot
from scorefield.gallery.read import Run, find_runs, read_run
from scorefield.locks import owned

__all__ = ["check_site", "write_gallery"]

PAGE = "index.html"
MARK = '<meta name="generator" content="scorefield gallery">'
"""By this an earlier gallery is known, which may be written again."""
MODEL = 'showModel("{}")\n'
"""What the script beside a .glb says; its bytes are in base64."""


def check_site(out: str | os.PathLike[str]) -> Path:
    """The folder of a gallery.

    Raises:
        ValueError: it holds something else.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; a gallery needs a folder: choose another one")
    page = out / PAGE
    ours = page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if there - {part_path(PAGE).name} and not ours:  # a killed writer may leave that part
        raise ValueError(f"{out} is not empty and no gallery; choose another folder")
    return out


def write_gallery(runs: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str]) -> list[Run]:
    """Write a page of run folders: settings, curves, previews, models, images, videos, tables.

    The page and its files stand alone in `out`; they open from a disk or from any static server.
    Written again, only what has changed is copied. Folders that are no runs are listed as such.

    Args:
        runs: run folders, or folders that hold run folders.
        out: a new or empty folder, or that of an earlier gallery.

    Returns:
        The runs as they are shown.

    Raises:
        ValueError: a folder is not accepted, or another process is writing the page; nothing was
            written.
    """
    out = check_site(out)
    shown = [read_run(path) for path in find_runs([Path(run) for run in runs])]
    if not shown:
        raise ValueError("there are no runs; give folders of runs")
    with owned(out):
        _write_site(shown, out)
    return shown


def _write_site(shown: list[Run], out: Path) -> None:
    if not (out / PAGE).exists():  # a writer that is killed leaves a folder that is ours
        _write(out / PAGE, f"<!doctype html><head>{MARK}</head>")
    parts = [_section(run, number, out) for number, run in enumerate(shown)]
    here = files(__package__)
    style, script = ((here / name).read_text("utf-8") for name in ("page.css", "page.js"))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
{MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>scorefield gallery</title><link rel="icon" href="data:,">
<style>{style}</style></head><body>
<header><h1>{_counted(shown)}</h1>
<label>Show <input type="search" id="filter" placeholder="words of a prompt or a path"></label>
<span id="compare" role="status">Mark two runs to see them side by side.</span></header>
<main>{"".join(parts)}</main><script>{script}</script></body></html>
"""
    _write(out / PAGE, page)
    _remove_all_but(out, page)


def _remove_all_but(out: Path, page: str) -> None:
    """Removes files of an earlier page that this one does not show."""
    for file in [file for file in (out / "files").rglob("*") if file.is_file()]:
        if _address(file, out) not in page:
            file.unlink()


def _address(file: Path, out: Path) -> str:
    return escape(quote(file.relative_to(out).as_posix()))


def _counted(shown: list[Run]) -> str:
    others = sum(run.problem is not None for run in shown)
    runs = len(shown) - others
    count = f"{runs} {'run' if runs == 1 else 'runs'}"
    if not others:
        return count
    return f"{count}, {others} {'folder' if others == 1 else 'folders'} without"


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _section(run: Run, number: int, out: Path) -> str:
    """The part of the page that shows a run."""
    name = f"run-{number:03d}"
    problem = run.problem
    if problem is None:
        try:
            return _shown(run, name, out)
        except OSError as error:  # a file that went away, or that may not be read
            problem = f"{error.filename} cannot be read: {error.strerror}"
    return (
        f'<article id="{name}" class="broken"><h2>{escape(run.title)}</h2>'
        f"<p><code>{escape(str(run.path))}</code> <span>{escape(problem)}</span></p></article>"
    )


def _shown(run: Run, name: str, out: Path) -> str:
    """The part of a run that is one, its files copied."""
    home = out / "files" / name
    links = {file: _copy(file, home / file.relative_to(run.path), out) for file in run.files}
    parts = [_model(file, links[file], home, out) for file in run.models]
    if run.previews:
        parts.append(_slider({step: links[file] for step, file in run.previews.items()}))
    parts += [
        f'<figure><img src="{links[file]}" alt="{escape(file.name)}" loading="lazy">'
        f'<figcaption><a href="{links[file]}">{escape(file.name)}</a></figcaption></figure>'
        for file in run.images
    ]
    parts += [
        f'<figure><video src="{links[file]}" controls loop muted preload="none"></video>'
        f"<figcaption>{escape(file.name)}</figcaption></figure>"
        for file in run.videos
    ]
    curves = "".join(plot(figure, *curve) for figure, curve in run.metrics.items())
    title, where = escape(run.title), escape(str(run.path))
    return (
        f'<article id="{name}"><h2>{title}</h2><p><code>{where}</code> '
        f'<label><input type="checkbox" class="mark"> side by side</label></p>'
        f'<div class="media">{"".join(parts)}</div>'
        + (f'<div class="plots">{curves}</div>' if curves else "")
        + _table(run.table)
        + _settings(run.config)
        + "</article>"
    )


def _copy(file: Path, to: Path, out: Path) -> str:
    """Copies a file unless it is there already; returns its address on the page."""
    before, now = to.stat() if to.exists() else None, file.stat()
    if before is None or (before.st_size, before.st_mtime) != (now.st_size, now.st_mtime):
        with whole_file(to) as part:
            shutil.copy2(file, part)
    return _address(to, out)


def _model(file: Path, link: str, home: Path, out: Path) -> str:
    """A place for the viewer. A page from a disk may not fetch, but it may load a script."""
    script = home / f"{file.name}.js"
    before, now = script.stat() if script.exists() else None, file.stat()
    # The folder may have been that of another run, whose model may be the newer one.
    size = len(MODEL.format("")) + 4 * -(-now.st_size // 3)
    if before is None or (before.st_size, before.st_mtime_ns) != (size, now.st_mtime_ns):
        with whole_file(script) as part:
            part.write_text(MODEL.format(base64.b64encode(file.read_bytes()).decode()))
            os.utime(part, ns=(now.st_atime_ns, now.st_mtime_ns))
    source = _address(script, out)
    return (
        f'<figure class="model" data-source="{source}"><canvas width="480" height="480" '
        'tabindex="0" role="img" aria-label="The model; arrow keys turn it, plus and minus zoom">'
        f'</canvas><figcaption><a href="{link}" download>{escape(file.name)}</a>: '
        "drag or arrow keys turn, wheel or + and - zoom</figcaption></figure>"
    )


def _slider(previews: dict[int, str]) -> str:
    steps, links = list(previews), list(previews.values())
    data = escape(" ".join(f"{step}:{link}" for step, link in previews.items()))
    slider = (
        f'<input type="range" min="0" max="{len(steps) - 1}" value="{len(steps) - 1}" '
        f'data-previews="{data}" aria-label="Step of the preview">'
        if len(steps) > 1
        else ""
    )
    return (
        f'<figure class="previews"><img src="{links[-1]}" alt="Preview" loading="lazy">'
        f"<figcaption>{slider}<output>step {steps[-1]}</output></figcaption></figure>"
    )


def _table(rows: list[list[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[1:]
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead>{body}</table></div>'


def _settings(config: dict[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in sorted(config.items())
    )
    return (
        f'<details><summary>{len(config)} settings</summary><div class="table">'
        f"<table>{rows}</table></div></details>"
    )
