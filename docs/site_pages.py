"""What `make docs` adds to MkDocs: pages from outside docs/, and links to them.

A page links to files of the repository as in any checkout, `../examples/edit.py` for one. On the
site, texts and examples become pages under `repository/`, and links to anything else become text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ADDED = ("*.md", "examples/*.py", "benchmarks/**/RESULTS.md", "priors/weights/*/README.md")
"""Files outside docs/ that have a page."""

_PREFIX = "repository/"
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def added_paths() -> list[str]:
    """Paths of the added files from the root of the repository."""
    found = (path for pattern in ADDED for path in ROOT.glob(pattern))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def site_path(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return _PREFIX + path if path.endswith(".md") else f"{_PREFIX}{path}.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside docs/."""
    for path in added_paths():
        text = (ROOT / path).read_text(encoding="utf-8")
        if not path.endswith(".md"):
            text = f"# {path}\n\n```python\n{text}```\n"
        files.append(File.generated(config, site_path(path), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Leads the links of a page to where their targets are on the site."""
    here = page.file.src_uri
    source = here.removeprefix(_PREFIX) if here.startswith(_PREFIX) else f"docs/{here}"
    if source.endswith(".py.md"):
        return markdown

    def led(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        path, _, anchor = target.partition("#")
        where = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        there = site_path(where)
        if files.get_file_from_path(there) is None:
            return text
        link = posixpath.relpath(there, posixpath.dirname(here) or ".")
        return f"{image}[{text}]({link}{'#' + anchor if anchor else ''})"

    parts, last = [], 0
    for block in _FENCED.finditer(markdown):
        parts += [_LINK.sub(led, markdown[last : block.start()]), block.group(0)]
        last = block.end()
    return "".join([*parts, _LINK.sub(led, markdown[last:])])
