#!/usr/bin/env bash
# kornia.contrib.connected_components spreads labels by one pixel an iteration, and does 100 of them unless told otherwise.
# What is more than 100 pixels across stays in pieces, each pixel that was not reached with a label of its own, and
# nothing says that it has not converged: a disc 480 pixels wide, which fits a usual mask of 512, comes back as more than
# a hundred thousand components. scipy.ndimage.label on the same mask finds one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q kornia==0.9.0 torch==2.13.0 numpy==2.4.6 scipy==1.17.0
OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import kornia
import torch
from scipy import ndimage

rows, columns = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
print(f"kornia {kornia.__version__}: components of one disc in a mask of 512 x 512")
counts = []
for width in (80, 160, 480):
    disc = ((rows - 256) ** 2 + (columns - 256) ** 2 < (width / 2) ** 2).float()
    labels = kornia.contrib.connected_components(disc[None, None])[0, 0]
    enough = kornia.contrib.connected_components(disc[None, None], num_iterations=600)[0, 0]
    found, right = labels[disc > 0].unique().numel(), enough[disc > 0].unique().numel()
    counts.append(found)
    print(f"  {width} wide: {found}, with 600 iterations {right}, by scipy {ndimage.label(disc.numpy())[1]}")
raise SystemExit(not (counts[0] == 1 and counts[1] > 100 and counts[2] > 100_000))
PY
