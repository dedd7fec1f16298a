#!/usr/bin/env bash
# trimesh.util.concatenate and Scene.to_mesh pack the textures of several meshes into one image, and place each vertex in
# it by its texture coordinate modulo one. A texture that repeats is lost: a floor of 2 x 2 tiles (u from 0 to 2) gets
# one texel's colour all over, and one of 1.5 tiles half a tile, stretched. No error, no warning; repeating is glTF's
# default, and floors, walls and cloth do it. Keep the scene, or bake before meshes are joined.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q trimesh==5.2.0 pillow==13.0.0 numpy==2.4.6 scipy==1.17.1
"$work/venv/bin/python" - <<'PY'
import numpy as np
import trimesh
from PIL import Image

CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def square(repeats: float, image: np.ndarray, at: float) -> trimesh.Trimesh:
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(image))
    visual = trimesh.visual.TextureVisuals(uv=CORNERS * repeats, material=material)
    vertices = np.c_[CORNERS[:, 0] + at, CORNERS[:, 1], np.zeros(4)]
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def along(mesh: trimesh.Trimesh) -> str:
    """Colours from the square's left to its right at a quarter of its height, as a renderer reads them."""
    image = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    low, high = mesh.visual.uv[0], mesh.visual.uv[2]  # both triangles have these corners, and u follows x
    said = ""
    for x in np.arange(0.0625, 1, 0.125):
        u, v = (low + (high - low) * [x, 0.25]) % 1
        texel = image[int((1 - v) * image.shape[0]), int(u * image.shape[1])]
        said += {(255, 0, 0): "R", (0, 0, 255): "B"}.get(tuple(int(c) for c in texel), "?")
    return said


half = np.zeros((16, 16, 3), np.uint8)
half[:, :8], half[:, 8:] = [255, 0, 0], [0, 0, 255]
other, found = np.full((16, 16, 3), 99, np.uint8), {}
for repeats in (1, 1.5, 2):
    floor, thing = square(repeats, half, 0), square(1, other, 3)
    joined = trimesh.util.concatenate([floor, thing])
    scene = trimesh.Scene([floor, thing]).to_mesh()
    found[repeats] = along(floor), along(joined), along(scene)
    print(f"trimesh {trimesh.__version__}: {repeats} tiles, red and blue halves: alone {found[repeats][0]}, "
          f"concatenated {found[repeats][1]}, of a scene {found[repeats][2]}")
right = found[1] == ("RRRRBBBB",) * 3 and found[2][0] == "RRBBRRBB"
raise SystemExit(not (right and len(set(found[2][1])) == 1 and found[2][1] == found[2][2]))
PY
