#!/usr/bin/env bash
# xatlas takes faces of less than about 1e-7 square units for faces without area, whatever the mesh's size: a torus of
# 6 mm or a scanned ball of 4 cm with 80,000 faces, in metres, the unit of glTF and of robots' models, gets NaN for all
# texture coordinates, and others lose part of their faces, which get one point of the texture each. Nothing is raised
# or printed, and the same shape in larger units is unwrapped well. Scale a mesh to about one before it is unwrapped.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q xatlas==0.0.11 trimesh==5.2.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import trimesh
import xatlas

print(f"xatlas {version('xatlas')}: share of the texture that a shape's faces take, and faces without a place in it")
found = {}
SHAPES = {
    "torus": (trimesh.creation.torus(1, 0.3), (2.0, 0.02, 0.006)),  # metres
    "capsule": (trimesh.creation.capsule(), (2.0, 0.02, 0.002)),
    "fine ball": (trimesh.creation.icosphere(6), (0.04,)),
}
for name, (shape, extents) in SHAPES.items():
    for extent in extents:
        vertices = shape.vertices * (extent / shape.extents.max())
        _, faces, uv = xatlas.parametrize(vertices, shape.faces)
        a, b = uv[faces[:, 1]] - uv[faces[:, 0]], uv[faces[:, 2]] - uv[faces[:, 0]]
        areas = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
        nan = int(np.isnan(uv).any(axis=1).sum())
        found[name, extent] = np.nansum(areas), int((~(areas > 0)).sum()), nan == len(uv)
        print(f"  {name} of {extent} m: {found[name, extent][0]:.2f}, {found[name, extent][1]} of {len(faces)}"
              f"{', all coordinates NaN' if nan == len(uv) else ''}")
unwrapped = all(found[name, 2.0][0] > 0.3 and found[name, 2.0][1] == 0 for name in ("torus", "capsule"))
partly = 0 < found["capsule", 0.02][1] < 4096
empty = all(found[key][2] for key in (("torus", 0.006), ("capsule", 0.002), ("fine ball", 0.04)))
raise SystemExit(not (unwrapped and partly and empty))
PY
