#!/usr/bin/env bash
# resvg draws strokes of a pixel and less by another rule than the same outline as a filled path: a slanted line loses
# 8% of its ink, and a stroke of exactly 1 px is among them. So thin lines cannot be compared with a reference render,
# nor fitted to one, by its strokes: draw the reference larger, or its outlines.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q resvg-py==0.5.0 pillow==13.0.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import io
import math
import sys
from importlib.metadata import version

import numpy as np
import resvg_py
from PIL import Image

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
HEAD += '<rect width="64" height="64" fill="white"/>'


def ink(path: str) -> float:
    png = resvg_py.svg_to_bytes(svg_string=HEAD + path + "</svg>", width=64, height=64)
    grey = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("L"), float)
    return float((255 - grey).sum() / 255)


(x0, y0), (x1, y1) = (8, 20.3), (56, 40.7)
length = math.hypot(x1 - x0, y1 - y0)
shares = {}
for width in (2.0, 1.0, 0.5, 0.25):
    nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
    outline = f"M{x0 + nx} {y0 + ny}L{x1 + nx} {y1 + ny}L{x1 - nx} {y1 - ny}L{x0 - nx} {y0 - ny}Z"
    stroke = ink(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="black" stroke-width="{width}" fill="none"/>')
    shares[width] = stroke / (length * width), ink(f'<path d="{outline}"/>') / (length * width)
print(f"resvg-py {version('resvg-py')}: ink over length times width, as (stroke, filled outline)")
for width, (stroke, filled) in shares.items():
    print(f"  {width:4} px: {stroke:.3f}, {filled:.3f}")
filled_right = all(abs(filled - 1) < 0.02 for _, filled in shares.values())
thick_right = abs(shares[2.0][0] - 1) < 0.01
thin_light = all(0.90 < shares[width][0] < 0.94 for width in (1.0, 0.5, 0.25))
sys.exit(not (filled_right and thick_right and thin_light))
PY
