"""Traced icons beside other tracers: paths, bytes, nodes, distance to the true image.

    pip install vtracer==0.6.15 potracer==0.0.4
    python benchmarks/tracing.py runs/icons/packages [--tuning] [--sheet sheet.png]

The folder holds the packages of icons, which npm fetches when they are missing. Each icon is
rendered by resvg at 64 pixels (means of 8x8), traced from that, rendered again at 256, and compared
with the icon's own render there (mean absolute error in [0, 1]). The names were drawn by chance
among the concepts that the sets share, after the settings had been chosen on the images of
--tuning. openmoji and emojione-v1 have taught no prior of ours.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scorefield.images import contact_sheet, save_image
from scorefield.sds.svg.economy import economy
from scorefield.sds.svg.resvg import render_with_resvg
from scorefield.sds.tracing import trace_image
from scorefield.sds.tracing.clean_file import clean_svg
from scorefield.sds.tracing.palette import label_pixels
from scorefield.training.icon_concepts import HELD_OUT_SETS, TRAINING_SETS
from scorefield.training.icons import fetch_package

JUDGED = {
    "flat": [
        "openmoji/honeybee", "openmoji/mushroom", "openmoji/tulip", "openmoji/palm-tree",
        "emojione-v1/umbrella-with-rain-drops", "emojione-v1/cherries", "twemoji/horse-face",
        "twemoji/hammer", "fluent-emoji-flat/ghost", "fluent-emoji-flat/pencil",
        "noto/front-facing-baby-chick", "emojione/running-shoe",
    ],
    "glossy or thin": [
        "fluent-emoji/tiger", "fluent-emoji/sun", "fluent-emoji/bus", "fluent-emoji/rabbit",
        "openmoji/rose", "twemoji/scissors",
    ],
}  # fmt: skip
TUNING = {
    "flat": [
        "twemoji/fox", "fluent-emoji-flat/penguin", "twemoji/hamburger", "noto/rocket",
        "twemoji/frog", "openmoji/snail", "openmoji/umbrella", "emojione-v1/house",
        "openmoji/red-apple", "fluent-emoji-flat/cactus", "emojione/owl", "emojione-v1/cat-face",
    ],
    "glossy or thin": [
        "fluent-emoji/strawberry", "fluent-emoji/spouting-whale", "fluent-emoji/balloon",
        "twemoji/glasses", "openmoji/bicycle", "fluent-emoji/octopus",
    ],
}  # fmt: skip

Image = Float[Tensor, "3 height width"]


def icon(name: str, packages: Path) -> tuple[Image, Image]:
    """An icon on white at 64 pixels, and at 256."""
    key, _, name = name.partition("/")
    folder = fetch_package({**TRAINING_SETS, **HELD_OUT_SETS}[key].package, packages)
    content = json.loads((folder / "icons.json").read_text("utf-8"))
    one = content["icons"][name]
    sides = (one.get(side, content.get(side, 16)) for side in ("width", "height"))
    box = " ".join(map(str, (one.get("left", 0), one.get("top", 0), *sides)))
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}">{one["body"]}</svg>'
    )
    return F.avg_pool2d(render_with_resvg(text, 512), 8), render_with_resvg(text, 256)


def ours(picture: Image) -> str:
    return clean_svg(trace_image(picture), "An icon")


def unpolished(picture: Image) -> str:
    from scorefield.sds.tracing import TraceSettings

    return clean_svg(trace_image(picture, TraceSettings(polish_steps=0)))


def vtracer(picture: Image) -> str:
    import vtracer

    with tempfile.TemporaryDirectory() as folder:
        image, out = Path(folder, "in.png"), Path(folder, "out.svg")
        save_image(image, picture)
        vtracer.convert_image_to_svg_py(str(image), str(out))
        return out.read_text()


def palette_potracer(picture: Image) -> str:
    """Our palette, each of its colours by potrace."""
    import potrace

    labelled = label_pixels(picture)
    paths = []
    for number, colour in enumerate(labelled.colours):
        if number == labelled.ground:
            continue
        data = ""
        # it traces what is False
        for curve in potrace.Bitmap(labelled.labels != number).trace():
            data += f"M{curve.start_point.x:.1f},{curve.start_point.y:.1f}"
            for s in curve.segments:
                points = [s.c, s.end_point] if s.is_corner else [s.c1, s.c2, s.end_point]
                kind = "L" if s.is_corner else "C"
                data += kind + " ".join(f"{p.x:.1f},{p.y:.1f}" for p in points)
            data += "Z"
        rgb = "".join(f"{round(255 * v):02x}" for v in colour)
        paths.append(f'<path fill="#{rgb}" fill-rule="evenodd" d="{data}"/>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256">'
    return head + "".join(paths) + "</svg>"


TRACERS: dict[str, Callable[[Image], str]] = {
    "ours": ours,
    "ours, not polished": unpolished,
    "vtracer, defaults": vtracer,
    "our palette, potracer": palette_potracer,
}


def measured(text: str, seconds: float, truth: Image) -> list[float]:
    """Paths, bytes, nodes, half-transparent ink, error at 256 and CPU seconds of one drawing."""
    # vtracer gives its file the size of the image and no view box
    if "viewBox" not in text:
        text = re.sub(
            r'<svg([^>]*)width="(\d+)" height="(\d+)"', r'<svg\1viewBox="0 0 \2 \3"', text
        )
    found = economy(text)
    error = (render_with_resvg(text, 256) - truth).abs().mean().item()
    return [*(found[name] for name in ("paths", "bytes", "nodes", "half_ink")), error, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, help="Folder of the packages of icons")
    parser.add_argument("--tuning", action="store_true", help="The images of the settings")
    parser.add_argument("--sheet", type=Path, help="Sheet of the icons above our drawings of them")
    options = parser.parse_args()
    shown: list[Tensor] = []
    for kind, names in (TUNING if options.tuning else JUDGED).items():
        rows: dict[str, list[list[float]]] = {name: [] for name in TRACERS}
        enlarged = []
        for name in names:
            small, truth = icon(name, options.packages)
            cubic = F.interpolate(small[None], 256, mode="bicubic")[0].clamp(0, 1)
            enlarged.append((cubic - truth).abs().mean().item())
            for tracer, trace in TRACERS.items():
                begun = time.process_time()
                text = trace(small)
                rows[tracer].append(measured(text, time.process_time() - begun, truth))
                if tracer == "ours":
                    shown += [cubic, render_with_resvg(text, 256)]
            print(name, [round(v, 4) for v in rows["ours"][-1]], flush=True)
        errors = [row[4] for row in rows["ours"]]
        nearer = sum(e < b for e, b in zip(errors, enlarged, strict=True))
        print(f"\n{kind}: paths, bytes, nodes, half-transparent ink, error at 256, CPU s; medians")
        print(f"  bicubic {np.median(enlarged):.4f}, ours is below it on {nearer} of {len(names)}")
        for tracer, found in rows.items():
            print(f"  {tracer:24s}", [float(round(v, 4)) for v in np.median(found, axis=0)])
    if options.sheet:
        pictures = torch.stack(shown)
        rows_of = [pictures[k::2][n : n + 9] for n in range(0, len(shown) // 2, 9) for k in (0, 1)]
        save_image(options.sheet, contact_sheet(torch.cat(rows_of), columns=9))


if __name__ == "__main__":
    main()
