#!/usr/bin/env bash
# gltfpack, which web and game builds pass their models through, writes by default texture coordinates as normalised
# 16-bit integers with a KHR_texture_transform in the material that brings them back. trimesh turns the quantised positions
# into the right ones and takes neither from the texture coordinates: `visual.uv` holds the integers, up to 65,535, and the
# transform is dropped. No error, no warning: a mesh that lies where it should, and a texture of noise. `gltfpack -noq`
# or `-vtf` (floats) keeps them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q trimesh==5.2.0 pillow==13.0.0 numpy==2.4.6 scipy==1.17.1
(cd "$work" && npm install --silent gltfpack@0.25.0 >/dev/null)
cd "$work"
"$work/venv/bin/python" - <<'PY'
import numpy as np
import trimesh
from PIL import Image

x, y = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 5)))
faces = [[r * 5 + c + i for i in t] for r in range(4) for c in range(4) for t in ((0, 1, 6), (0, 6, 5))]
material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGB", (16, 16), "red"))
visual = trimesh.visual.TextureVisuals(uv=np.c_[0.1 + 0.5 * x, 0.2 + 0.6 * y], material=material)
trimesh.Trimesh(np.c_[x, y, 0 * x], faces, visual=visual, process=False).export("square.glb")
PY
node node_modules/gltfpack/cli.js -i square.glb -o packed.glb
node node_modules/gltfpack/cli.js -vtf -i square.glb -o floats.glb
"$work/venv/bin/python" - <<'PY'
import json
import struct
from pathlib import Path

import numpy as np
import trimesh

found = {}
for name in ("square", "floats", "packed"):
    data = Path(f"{name}.glb").read_bytes()
    described = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    mesh = trimesh.load_scene(f"{name}.glb").to_mesh()
    found[name] = mesh.bounds, mesh.visual.uv.min(axis=0), mesh.visual.uv.max(axis=0)
    print(f"trimesh {trimesh.__version__}: {name}.glb, uses {described.get('extensionsUsed', [])}: "
          f"vertices to {mesh.bounds[1].round(4)}, uv {found[name][1].round(3)} to {found[name][2].round(3)}")
places = all(np.allclose(one[0], found["square"][0], atol=1e-3) for one in found.values())
kept = np.allclose(found["floats"][1:], found["square"][1:], atol=1e-2)
raise SystemExit(not (places and kept and found["packed"][2].max() > 1000))
PY
