"""Traced icons beside other tracers: paths, bytes, nodes, distance to the true picture.

    scorefield train-prior icons --out runs/icons --steps 1 --codec-steps 1  # fetches and renders
    pip install vtracer==0.6.15 potracer==0.0.4
    python benchmarks/tracing.py runs/icons/pictures [--sheet sheet.png]

Each icon is drawn at 64 pixels, traced from that, rendered by resvg at 256, and compared with the
icon at 256 (mean absolute error in [0, 1]). Medians over eight flat icons and over four glossy or
thin ones; openmoji and emojione-v1 have taught no prior of ours.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from scorefield.images import contact_sheet, save_image
from scorefield.sds.svg.resvg import render_with_resvg
from scorefield.sds.tracing import trace_picture
from scorefield.sds.tracing.clean_file import clean_svg
from scorefield.sds.tracing.palette import label_pixels

FLAT = [
    "training/fox/twemoji", "training/penguin/fluent-emoji-flat", "training/hamburger/twemoji",
    "training/rocket/noto", "training/frog/twemoji", "held-out/apple/openmoji",
    "held-out/snail/openmoji", "held-out/house/emojione-v1",
]  # fmt: skip
GLOSSY = [
    "training/strawberry/fluent-emoji", "training/whale/fluent-emoji",
    "training/balloon/fluent-emoji", "training/glasses/twemoji",
]  # fmt: skip

Picture = Float[Tensor, "3 height width"]


def icon(path: Path, size: int) -> Picture:
    """An icon on white."""
    image = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    small = white.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def ours(picture: Picture) -> str:
    return clean_svg(trace_picture(picture))


def unpolished(picture: Picture) -> str:
    from scorefield.sds.tracing import TraceSettings

    return clean_svg(trace_picture(picture, TraceSettings(polish_steps=0)))


def vtracer(picture: Picture) -> str:
    import vtracer

    with tempfile.TemporaryDirectory() as folder:
        image, out = Path(folder, "in.png"), Path(folder, "out.svg")
        save_image(image, picture)
        vtracer.convert_image_to_svg_py(str(image), str(out))
        return out.read_text()


def palette_potracer(picture: Picture) -> str:
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


TRACERS: dict[str, Callable[[Picture], str]] = {
    "ours": ours,
    "ours, not polished": unpolished,
    "vtracer, defaults": vtracer,
    "our palette, potracer": palette_potracer,
}


def measured(text: str, seconds: float, truth: Picture) -> list[float]:
    """Paths, bytes, nodes, error at 256 and CPU seconds of one drawing."""
    nodes = sum(len(re.findall(r"-?[\d.]+", d)) / 2 for d in re.findall(r'd="([^"]*)"', text))
    shapes = len(re.findall(r"<(path|circle|ellipse|rect)", text))
    # vtracer gives its file the size of the picture and no view box
    if "viewBox" not in text:
        text = re.sub(
            r'<svg([^>]*)width="(\d+)" height="(\d+)"', r'<svg\1viewBox="0 0 \2 \3"', text
        )
    error = (render_with_resvg(text, 256) - truth).abs().mean().item()
    return [shapes, len(text.encode()), nodes, error, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="Folder of rendered icons")
    parser.add_argument("--sheet", type=Path, help="Sheet of the icons above our drawings of them")
    options = parser.parse_args()
    shown: list[Tensor] = []
    for kind, names in (("flat", FLAT), ("glossy or thin", GLOSSY)):
        rows: dict[str, list[list[float]]] = {name: [] for name in TRACERS}
        enlarged = []
        for name in names:
            path = options.pictures / f"{name}.png"
            small, truth = icon(path, 64), icon(path, 256)
            cubic = F.interpolate(small[None], 256, mode="bicubic")[0].clamp(0, 1)
            enlarged.append((cubic - truth).abs().mean().item())
            for tracer, trace in TRACERS.items():
                begun = time.process_time()
                text = trace(small)
                rows[tracer].append(measured(text, time.process_time() - begun, truth))
                if tracer == "ours":
                    shown += [cubic, render_with_resvg(text, 256)]
            print(name, [round(v, 4) for v in rows["ours"][-1]], flush=True)
        errors = [row[3] for row in rows["ours"]]
        nearer = sum(e < b for e, b in zip(errors, enlarged, strict=True))
        print(f"\n{kind}: paths, bytes, points, error at 256, CPU s")
        print(f"  bicubic {np.median(enlarged):.4f}, ours is below it on {nearer} of {len(names)}")
        for tracer, found in rows.items():
            print(f"  {tracer:24s}", [float(round(v, 4)) for v in np.median(found, axis=0)])
    if options.sheet:
        above = torch.stack(shown[::2] + shown[1::2])
        save_image(options.sheet, contact_sheet(above, columns=len(shown) // 2))


if __name__ == "__main__":
    main()
