"""CPU seconds of the mutual matches of a stereo pair, by the side of the images in pixels.

    OMP_NUM_THREADS=1 python benchmarks/perception/correspondence/match_cost.py 64 128 192

The maps are the preset's, one cell per pixel. Beside them, in the same run, is the time of every
product in float32, from the first eighth of the rows: that is what a matrix of all similarities
costs before anything is looked for in it.
"""

import sys
import time
from itertools import pairwise

import torch
from skimage.data import stereo_motorcycle
from torch import Tensor
from torch.nn import functional

from scorefield.perception.correspondence.dift import features
from scorefield.perception.correspondence.matching import mutual_matches
from scorefield.perception.resize import resize_to_prior
from scorefield.priors import load_prior


def products(a: Tensor, b: Tensor) -> None:
    """The products of the first eighth of a with all of b, in blocks that caches hold."""
    for rows in a[: len(a) // 8].split(1024):
        for columns in b.split(1024):
            rows @ columns.T


prior = load_prior("shapes")
views = [torch.from_numpy(v.copy()).permute(2, 0, 1) / 255 for v in stereo_motorcycle()[:2]]
with torch.no_grad():
    for side in map(int, sys.argv[1:]):
        pair = torch.cat([resize_to_prior(view[None], prior, side) for view in views])
        times = [time.process_time()]
        maps = features(prior, pair)
        times.append(time.process_time())
        size = (side, side)
        found = mutual_matches(*maps, source_size=size, target_size=size)
        times.append(time.process_time())
        a, b = (functional.normalize(m, dim=0).flatten(1).T.contiguous() for m in maps)
        times.append(time.process_time())
        products(a, b)
        times.append(time.process_time())
        tapped, ours, _, eighth = (end - start for start, end in pairwise(times))
        print(
            f"{side} pixels: features {tapped:.1f} s, {len(found)} mutual matches {ours:.1f} s, "
            f"products in float32 alone {8 * eighth:.1f} s"
        )
