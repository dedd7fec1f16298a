"""A stream of images whose results are kept, one JSON line each, as soon as they are known."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorefield.cli.command import check_image_path
from scorefield.perception.benchmarks.labelled_images import content_digest
from scorefield.rows import RowStore

if TYPE_CHECKING:
    from scorefield.perception.fleet.work import ImageWork

AT_ONCE = 4
"""Images that are judged together, and whose results an interruption may cost."""


def file_digest(path: Path) -> str:
    """What tells one image from another under the same name; empty if it cannot be read."""
    try:
        return content_digest(path.read_bytes())
    except OSError:
        return ""


class ImageResults:
    """What is known of images, and the file it is kept in.

    The file has one line of settings, then one per image; where an image was done again, because
    it could not be read or is another one since, its last line counts.

    path: of the file, .jsonl; None keeps none.
    settings: JSON values; a file of others is refused.
    resume: whether to go on with a file that is there.

    Raises:
        ValueError: a file that is there already, is of other settings, holds no results, or is
            written by another process.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any], resume: bool) -> None:
        if path is None and resume:
            raise ValueError("--resume goes on with a file; name it with --out")
        if path is not None:
            check_image_path(path, (".jsonl",))
            if path.exists() and not resume:
                raise ValueError(f"{path} is there already; choose another file, or --resume")
        self._rows = RowStore(path, settings, ["image"])

    def stream(self, paths: Sequence[Path], work: "ImageWork", *, quiet: bool) -> None:
        """Read and judge the images without a result, a few at a time, and keep what is found.

        Noise is keyed by an image's content: it is the same wherever the file is, and whatever
        else is judged. An image that cannot be read is noted as such, and the others are done.
        Images that share passes of the network are the same few in a resumed run, for rounding
        depends on them: where one of them has no result, all are judged, and come to the bits of a
        run that was never interrupted.
        """
        from tqdm.auto import tqdm

        from scorefield.perception.benchmarks.labelled_images import LabelledImage

        paths = list(dict.fromkeys(paths))
        groups = [
            paths[first : first + work.at_once] for first in range(0, len(paths), work.at_once)
        ]
        left = [group for group in groups if not all(map(self._is_known, group))]
        with tqdm(total=sum(map(len, left)), disable=quiet, desc="images") as bar:
            for group in left:
                images = [LabelledImage(str(path), "", partial(Path, path)) for path in group]
                self._rows.add(*work.rows(images))
                bar.update(len(group))

    def of(self, paths: Sequence[Path]) -> tuple[list[dict[str, Any]], str | None]:
        """The results of images, and what is to be said of those that could not be read."""
        rows = [row for path in paths if (row := self._rows.get(image=str(path)))]
        bad = [f"{row['image']} ({row['error']})" for row in rows if "error" in row]
        return rows, f"{len(bad)} of {len(rows)} images: {'; '.join(bad)}" if bad else None

    def _is_known(self, path: Path) -> bool:
        """Whether there is a result of what the file holds now, or it is known to be damaged."""
        row = self._rows.get(image=str(path))
        return row is not None and row.get("digest") == file_digest(path)
