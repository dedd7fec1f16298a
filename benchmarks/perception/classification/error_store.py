"""Errors that are evaluated once and kept on disk, so that policies can be replayed over them.

An error depends on (seed, image, draw, prompt) alone: what a policy would have done is known
exactly from errors that were evaluated for another one.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scorefield.files import whole_file
from scorefield.perception.classification.paired_errors import ErrorSource, Request


class StoredErrors:
    """Errors of some images from a file, and from `source` where they are not in it.

    source: of the same images, seed and measure, whenever the file is used.
    path: an .npz file, written by `save`; it need not be there.
    images, prompts: how many there are.
    """

    def __init__(self, source: ErrorSource, path: Path, images: int, prompts: int) -> None:
        self._source = source
        self._path = path
        self._known = np.full((images, prompts, 0, 1), np.nan, dtype=np.float32)
        if path.exists():
            with np.load(path) as file:
                self._known = file["errors"]
        self._changed = False

    def evaluate(
        self, requests: Sequence[Request]
    ) -> list[Float[np.ndarray, "prompts draws parts"]]:
        """The errors of each request."""
        missing = [part for request in requests for part in self._missing(request)]
        answers = self._source.evaluate(missing) if missing else []
        for part, errors in zip(missing, answers, strict=True):
            self._make_room(part.stop, errors.shape[2])
            self._known[part.image, list(part.prompts), part.start : part.stop] = errors
            self._changed = True
        return [
            self._known[r.image, list(r.prompts), r.start : r.stop].astype(np.float64)
            for r in requests
        ]

    def save(self) -> None:
        """Write what is known, if anything is new; a file that is there stays whole until then."""
        if not self._changed:
            return
        with whole_file(self._path) as part:
            np.savez_compressed(part, errors=self._known)
        self._changed = False

    def _missing(self, request: Request) -> list[Request]:
        """What of a request is not known: runs of draws that lack the same prompts."""

        def lacked(draw: int) -> tuple[int, ...]:
            if draw >= self._known.shape[2]:
                return request.prompts
            known = self._known[request.image, :, draw, 0]
            return tuple(prompt for prompt in request.prompts if np.isnan(known[prompt]))

        runs = [
            (prompts, list(draws))
            for prompts, draws in groupby(range(request.start, request.stop), lacked)
        ]
        return [
            Request(request.image, prompts, draws[0], draws[-1] + 1)
            for prompts, draws in runs
            if prompts
        ]

    def _make_room(self, draws: int, parts: int) -> None:
        images, prompts, had, _ = self._known.shape
        if draws > had:
            # doubled, so that draws that come one by one are not copied each time
            more = np.full((images, prompts, max(draws, 2 * had), parts), np.nan, np.float32)
            more[:, :, :had] = self._known
            self._known = more
