"""How many matches of a stereo pair are right: those drawn, all mutual ones, the most similar.

    OMP_NUM_THREADS=1 python benchmarks/perception/correspondence/stereo_pair.py

scikit-image's motorcycle, 741 pixels wide, whose disparity is known; right is within 10 pixels. The
prior sees squares of 64 pixels. Nothing is chosen on this pair.
"""

import torch
from jaxtyping import Float
from skimage.data import stereo_motorcycle
from torch import Tensor

from scorefield.perception.correspondence.dift import match
from scorefield.perception.correspondence.matches import Matches
from scorefield.priors import load_prior

TOLERANCE = 10.0


def errors_of(matches: Matches, disparity: Float[Tensor, "height width"]) -> Float[Tensor, " n"]:
    """How far matches are off, pixels, where the disparity is known."""
    x, y = matches.source.long().T
    known = disparity[y, x]
    true = matches.source - torch.stack([known, torch.zeros_like(known)], 1)
    return (matches.target - true).norm(dim=1)[known.isfinite() & (known > 0)]


def main() -> None:
    """A line for each kind."""
    left, right, disparity = stereo_motorcycle()
    a, b = (torch.tensor(view).permute(2, 0, 1) / 255 for view in (left, right))
    every = match(load_prior("shapes"), a, b)[0]
    size = (a.shape[1], a.shape[2])
    kinds = {
        "drawn": every.spread(size, size, most=60),
        "mutual": every,
        "most similar 60": every.select(every.similarity.argsort(descending=True)[:60]),
    }
    for name, some in kinds.items():
        errors = errors_of(some, torch.tensor(disparity))
        near = int((errors <= TOLERANCE).sum())
        print(
            f"{name}: {near} of {len(errors)} with known disparity right, "
            f"{100 * near / len(errors):.0f}%, median error {float(errors.median()):.1f} pixels"
        )


if __name__ == "__main__":
    main()
