"""A page of metrics that opens in any browser, and the figures others have published."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from scorefield.files import write_text

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A caption, the heads of the columns, the rows."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em;
  color: #222; background: #fff; }
table { border-collapse: collapse; margin: 0.5em 0 2em; }
caption { text-align: left; font-weight: 600; padding: 0.3em 0; }
th, td { padding: 0.25em 0.9em 0.25em 0; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
p.problem { border-left: 4px solid #b00; padding-left: 0.8em; }
"""

PUBLISHED: dict[str, list[tuple[str, str, str]]] = {
    "spair": [
        ("DIFT, Stable Diffusion 2.1", "59.5", "PCK@0.1 per point; Tang et al. 2023"),
        ("the same, repeated by others", "59.6", "PCK@0.1 per point; CleanDIFT 2025, table 5"),
        ("CleanDIFT", "61.4", "PCK@0.1 per point; CleanDIFT 2025"),
        ("Stable Diffusion + DINOv2", "64.0", "PCK@0.1 per point; Zhang et al. 2023"),
        ("GeoAware-SC, zero-shot", "69.6", "PCK@0.1 per point; Zhang et al. 2024"),
    ],
    "voc": [("DiffCut", "65.2", "mIoU of the set; Couairon et al. 2024")],
    "ade": [("DiffCut", "44.3", "mIoU of the set; Couairon et al. 2024")],
    "coco-stuff-27": [
        ("DiffSeg", "43.6", "mIoU of the set; Tian et al. 2024"),
        ("DiffCut", "49.1", "mIoU of the set; Couairon et al. 2024"),
        ("EmerDiff", "26.6", "mIoU, clusters shared by the set; Namekata et al. 2024"),
    ],
    "cityscapes": [
        ("DiffSeg", "21.2", "mIoU of the set; Tian et al. 2024"),
        ("DiffCut", "30.6", "mIoU of the set; Couairon et al. 2024"),
    ],
    "classifier": [
        ("Diffusion Classifier on CIFAR-10", "88.5", "Li et al. 2023, Stable Diffusion 2.0"),
        ("Diffusion Classifier on STL-10", "95.4", "the same"),
        ("Diffusion Classifier on Pets", "87.3", "the same"),
        ("Diffusion Classifier on Flowers", "66.3", "the same"),
        ("Diffusion Classifier on Food-101", "77.7", "the same"),
        ("Diffusion Classifier on Aircraft", "26.4", "the same"),
        ("Diffusion Classifier on ObjectNet", "43.4", "the same"),
        ("Diffusion Classifier on ImageNet", "61.4", "the same, 4 images per class"),
    ],
}
"""By data set: whose figure, in percent, and of what."""


def percent(share: float | None) -> str:
    """A share as it is printed."""
    return "" if share is None else f"{100 * share:.1f}"


def write_report(
    path: Path,
    title: str,
    facts: Mapping[str, object],
    tables: Sequence[Table],
    published: str,
    problem: str | None,
) -> None:
    """Write the page, whole or not at all.

    facts: what the metrics are of, by name.
    published: the key of `PUBLISHED` whose figures stand beside, if there are any.
    problem: what is missing.
    """
    others = PUBLISHED.get(published, [])
    beside: list[Table] = [("Published, in percent", ("", "figure", "of"), others)]
    missing = f'<p class="problem">{escape(problem)}</p>' if problem else ""
    body = "".join(_table(*one) for one in [*tables, *(beside if others else [])])
    known = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{missing}"
        f"{body}<table><caption>Made with</caption>{known}</table></body></html>\n",
    )


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def problem_of(rows: Sequence[Mapping[str, object]], key: str, kind: str) -> str | None:
    """How many rows are errors and which, the first ten; None if there are none."""
    bad = [f"{row[key]} ({row['error']})" for row in rows if "error" in row]
    if not bad:
        return None
    more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
    return f"{len(bad)} of {len(rows)} {kind} could not be read: {'; '.join(bad[:10])}{more}"
