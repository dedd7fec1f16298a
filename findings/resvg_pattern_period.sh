#!/usr/bin/env bash
# resvg rounds the tile of a <pattern> to whole pixels of the image and repeats that: stripes every 6.2 pixels come out
# every 6, every 6.5 come out every 7, so that after 256 pixels whole stripes are missing or too many and half of the
# pixels are wrong; a translation by half a pixel is dropped. Drawn eight times as large and averaged, 6.5 is right,
# but 6.2 (49.6 there, so 50) is still wrong in a third of the pixels. A picture by resvg is a reference for hatches and
# dots only where the tile is a whole number of pixels.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q resvg-py==0.5.0 pillow==12.3.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import io
from importlib.metadata import version

import numpy as np
import resvg_py
from PIL import Image

SIDE = 256


def stripes(tile: float, zoom: int = 1, transform: str = "") -> np.ndarray:
    """Opacity along a row of stripes of half a tile each, averaged down where it was drawn larger."""
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE * zoom}" height="{8 * zoom}" viewBox="0 0 {SIDE} 8">'
        f'<pattern id="p" width="{tile}" height="8" patternUnits="userSpaceOnUse" patternTransform="{transform}">'
        f'<rect width="{tile / 2}" height="8"/></pattern><rect width="{SIDE}" height="8" fill="url(#p)"/></svg>'
    )
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text))))
    row = np.asarray(picture.convert("RGBA"))[4 * zoom, :, 3] / 255
    return row.reshape(SIDE, zoom).mean(1)


def exact(tile: float) -> np.ndarray:
    along = (np.arange(SIDE * 64) + 0.5) / 64
    return (along % tile < tile / 2).reshape(SIDE, 64).mean(1)


print(f"resvg_py {version('resvg_py')}: stripes drawn over 256 pixels, and how far off the pixels are on average")
drawn, errors, large = {}, {}, {}
for tile in (6.0, 6.2, 6.5, 7.3, 25.6):
    row = stripes(tile)
    drawn[tile] = int((np.diff(row > 0.5, prepend=False) & (row > 0.5)).sum())
    errors[tile] = np.abs(row - exact(tile)).mean()
    large[tile] = np.abs(stripes(tile, 8) - exact(tile)).mean()
    print(f"  every {tile} pixels: {drawn[tile]} of {SIDE / tile:.1f}, {errors[tile]:.3f}; drawn 8 times as large {large[tile]:.3f}")
moved = np.abs(stripes(6.0, transform="translate(0.5 0)") - stripes(6.0)).mean()
print(f"  moved by half a pixel: {moved:.3f} different from unmoved, 0.167 is right")
wrong = [errors[6.0] < 0.001, errors[6.2] > 0.3, errors[6.5] > 0.3, drawn[6.5] == 37, drawn[6.2] == 43, moved < 0.001]
raise SystemExit(not all(wrong))
PY
