#!/usr/bin/env bash
# A seed does not give the same noise to the first samples of a batch when the batch grows. From 16 numbers on
# torch.randn fills blocks of 16 on a CPU, and where the size is no multiple of 16 it draws the last 16 numbers anew, so the noise
# of the last samples (not only the added ones) changes; below 16 numbers all are others. Image latents, whose size is a
# multiple of 16, hide it; action chunks, points and poses do not. One generator a sample keeps them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import torch


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


print(f"torch {torch.__version__}: one seed, how many numbers of each sample of a batch of 3 are the same in a batch of 4")
same = {}
for shape in ((4, 4, 4), (7, 2), (5, 1)):
    equal = noise(3, *shape) == noise(4, *shape)[:3]
    same[shape] = equal.flatten(1).sum(1).tolist()
    print(f"  samples of shape {shape}: {same[shape]} of {equal[0].numel()}")
raise SystemExit(not (same[4, 4, 4] == [64] * 3 and same[7, 2][2] == 0 and same[5, 1] == [0] * 3))
PY
