"""What is done to images: some at a time, read, judged, with a row of results for each."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scorefield.images import as_images, opened_image
from scorefield.perception.benchmarks.labelled_images import (
    LabelledImage,
    content_digest,
    noise_key,
)
from scorefield.rows import Row


@dataclass(frozen=True)
class ImageWork:
    """A prior, and what it is asked about images.

    judge: from images (B, 3, H, W) and the keys of their noise to the results of each.
    columns: what the results are, by name: str, bytes, bool, int, float; list and dict, whose
        values are float; or the shape of an array of float32.
    settings: what the results depend on, as JSON values.
    device: where the images are to be.
    size: side of their middle squares, pixels; None leaves images as they are.
    at_once: images that are judged together; 1 if they keep their sizes.
    notes: what was chosen for speed and memory, as JSON values; the results do not depend on it.
    """

    judge: Callable[[Tensor, list[int]], list[dict[str, Any]]]
    columns: Mapping[str, Any]
    settings: dict[str, Any]
    device: torch.device
    size: int | None
    at_once: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, given: Sequence[LabelledImage]) -> list[Row]:
        """Results of images that are judged together, or why one cannot be read.

        Each row has image and digest; results, or error.
        """
        rows, images, good = list[Row](), list[Tensor](), list[Row]()
        for one in given:
            row: Row = {"image": one.name, "digest": ""}
            rows.append(row)
            try:
                content = one.content()
                row["digest"] = content_digest(content)
                with opened_image(io.BytesIO(content), one.name) as opened:
                    images.append(as_images(opened, self.size))
            except (ValueError, OSError) as error:
                row["error"] = " ".join(str(error).split())
                continue
            good.append(row)
        if good:
            keys = [noise_key(row["digest"]) for row in good]
            found = self.judge(torch.cat(images).to(self.device), keys)
            for row, values in zip(good, found, strict=True):
                row.update(values)
        return rows
