#!/usr/bin/env bash
# torch.compile on a CPU gives a gradient of exactly zero through a residual block that is followed by nearest
# upsampling and a convolution, the block of every latent diffusion decoder; the forward pass is right, float32, no
# warning. Without the division by one, or in plain torch, the gradient is right. So a decoder that is trained or
# distilled through compiled code on a CPU learns behind its last upsampling alone: compare gradients, not outputs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
TORCHINDUCTOR_CACHE_DIR="$work/cache" "$work/venv/bin/python" - <<'PY'
import sys

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)


class UpBlock(nn.Module):
    def __init__(self, scaled: bool, width: int = 64) -> None:
        super().__init__()
        self.scaled = scaled
        self.norm = nn.GroupNorm(8, width)
        self.first, self.second, self.last = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x + self.second(F.silu(self.first(F.silu(self.norm(x)))))
        if self.scaled:
            h = h / 1.0  # diffusers' output_scale_factor
        return self.last(F.interpolate(h, scale_factor=2.0, mode="nearest"))


print(f"torch {torch.__version__}: norms of the output and of the gradient of x")
found = {}
for scaled in (False, True):
    torch.manual_seed(0)
    block, x = UpBlock(scaled), torch.randn(16, 64, 16, 16)
    for name, run in (("plain", block), ("compiled", torch.compile(block))):
        given = x.clone().requires_grad_()
        out = run(given)
        (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).mean().backward()
        found[scaled, name] = out.norm().item(), given.grad.norm().item()
        print(f"  divided by one: {scaled!s:5} {name:8} {found[scaled, name][0]:.4f} {found[scaled, name][1]:.8f}")
close = all(abs(found[s, "plain"][0] / found[s, "compiled"][0] - 1) < 1e-4 for s in (False, True))
right = abs(found[False, "plain"][1] / found[False, "compiled"][1] - 1) < 1e-4
sys.exit(not (close and right and found[True, "plain"][1] > 0 and found[True, "compiled"][1] == 0))
PY
