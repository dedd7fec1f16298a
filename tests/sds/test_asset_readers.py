"""What Blender and three.js see of an asset's files: extents, front and colours.

Blender comes from PyPI in an environment of its own, kept in build/blender; three.js comes from
npm, kept in build/three, and runs in headless Chromium.
"""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from scorefield.cameras import Cameras
from scorefield.sds.nerf.assets.asset import make_asset
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.radiance_field import RadianceField
from tests.support.egg import Egg

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BLENDER = "5.0.1"
THREE = "0.170.0"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

IMPORTED = """
import json, sys
import bpy
import numpy as np

readers = {
    ".glb": bpy.ops.import_scene.gltf, ".obj": bpy.ops.wm.obj_import, ".ply": bpy.ops.wm.ply_import,
}
found = {}
for path in sys.argv[1:]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    suffix = path[path.rindex("."):]
    readers[suffix](filepath=path)
    (one,) = (each for each in bpy.data.objects if each.type == "MESH")
    mesh, matrix = one.data, np.array(one.matrix_world)
    corners = np.array([loop.vertex_index for loop in mesh.loops])
    places = np.array([vertex.co for vertex in mesh.vertices])[corners]
    places = places @ matrix[:3, :3].T + matrix[:3, 3]
    if mesh.uv_layers:
        (image,) = (each for each in bpy.data.images if each.size[0])
        width, height = image.size
        pixels = np.array(image.pixels[:]).reshape(height, width, -1)  # as stored, from below
        uv = np.array([each.uv for each in mesh.uv_layers[0].data])
        column, row = (np.clip(uv * [width, height], 0, [width - 1, height - 1])).astype(int).T
        colours, space = pixels[row, column, :3], image.colorspace_settings.name
    else:
        (layer,) = mesh.color_attributes
        colours = np.array([each.color_srgb[:3] for each in layer.data])
        colours, space = colours[corners] if layer.domain == "POINT" else colours, "sRGB"
    found[suffix] = {
        "name": one.name, "space": space,
        "places": places.tolist(), "colours": colours.tolist(),
    }
json.dump(found, open("found.json", "w"))
"""


@pytest.fixture(scope="module")
def scene() -> RadianceField:
    scene = RadianceField(Egg())
    scene.update_occupancy()
    return scene


@pytest.fixture(scope="module")
def asset(scene: RadianceField) -> trimesh.Trimesh:
    return make_asset(scene, AssetSettings(mesh_resolution=96, faces=2000, texture=512))


@pytest.fixture(scope="module")
def files(asset: trimesh.Trimesh, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = export_mesh(asset, tmp_path_factory.mktemp("asset"), title="a spotted egg")
    return {path.suffix: path for path in paths}


def test_blender_sees_what_the_field_shows(
    scene: RadianceField, asset: trimesh.Trimesh, files: dict[str, Path], tmp_path: Path
) -> None:
    place = ROOT / "build" / "blender"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        install = [place / "bin" / "python", "-m", "pip", "install", "-q", f"bpy=={BLENDER}"]
        subprocess.run(install, check=True)
        (place / "ready").touch()
    given = [str(files[suffix]) for suffix in (".glb", ".obj", ".ply")]
    call = [place / "bin" / "python", "-c", IMPORTED, *given]
    subprocess.run(call, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "found.json").read_text())
    # Blender is z up and calls what faces -y the front. It turns what is y up; .ply is as it is.
    to_ours = {".glb": [[0, -1, 0], [1, 0, 0], [0, 0, 1]], ".ply": np.eye(3)}
    to_ours[".obj"] = to_ours[".glb"]
    for suffix, seen in found.items():
        places = np.array(seen["places"]) @ np.transpose(to_ours[suffix])
        bounds = [places.min(axis=0), places.max(axis=0)]
        np.testing.assert_allclose(bounds, asset.bounds, atol=1e-4, err_msg=suffix)
        with torch.no_grad():
            field = scene.field(torch.as_tensor(places).float())[1].numpy()
        off = np.abs(np.array(seen["colours"]) - field)
        assert np.quantile(off, 0.98) < 4 / 255, suffix  # half a texel, about
        assert seen["space"] == "sRGB"
    assert found[".glb"]["name"] == "a spotted egg"


PAGE = """<!doctype html><script type="importmap">{"imports": {
  "three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<canvas width="128" height="128"></canvas>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
const canvas = document.querySelector("canvas");
const renderer = new THREE.WebGLRenderer({ canvas, preserveDrawingBuffer: true });
const scene = (await new GLTFLoader().loadAsync("/mesh.glb")).scene;
const seen = { meshes: [] };
scene.traverse((one) => {
  if (!one.isMesh) return;
  const { name, metalness, roughness, map } = one.material;
  seen.meshes.push({ name: one.name, metalness, roughness, space: map.colorSpace });
  one.material = new THREE.MeshBasicMaterial({ map });  // unlit
});
const box = new THREE.Box3().setFromObject(scene, true);
seen.bounds = [box.min.toArray(), box.max.toArray()];
const camera = new THREE.PerspectiveCamera(40, 1, 0.1, 10);
camera.position.set(0, 0, 3);  // in front, as glTF has it
renderer.render(scene, camera);
seen.image = canvas.toDataURL();
window.seen = seen;
</script>"""


@pytest.mark.skipif(BROWSER is None or shutil.which("npm") is None, reason="needs Chromium and npm")
def test_three_js_sees_what_the_field_shows(
    scene: RadianceField, asset: trimesh.Trimesh, files: dict[str, Path], tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    place = ROOT / "build" / "three" / THREE
    if not (place / "package").exists():
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"three@{THREE}"], check=True, cwd=place)
        shutil.unpack_archive(place / f"three-{THREE}.tgz", place, filter="data")
    answers = {"/": (PAGE.encode(), "text/html"), "/mesh.glb": (files[".glb"].read_bytes(), "")}

    def answer(route: Any) -> None:
        path = urlparse(route.request.url).path
        if path.startswith("/three/"):
            script = (place / "package" / path.removeprefix("/three/")).read_bytes()
            route.fulfill(body=script, content_type="text/javascript")
        elif path in answers:
            body, kind = answers[path]
            route.fulfill(body=body, content_type=kind or "model/gltf-binary")
        else:
            route.abort()

    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=flags)
        tab = browser.new_page()
        tab.route("**/*", answer)
        tab.goto("http://asset.test/")
        tab.wait_for_function("window.seen", timeout=60_000)
        seen = tab.evaluate("window.seen")
        browser.close()
    assert seen["meshes"] == [
        {"name": "a_spotted_egg", "metalness": 0, "roughness": 1, "space": "srgb"}
    ]
    np.testing.assert_allclose(seen["bounds"], asset.bounds[:, [1, 2, 0]], atol=1e-5)
    data = base64.b64decode(seen["image"].partition(",")[2])
    shown = np.array(Image.open(io.BytesIO(data)).convert("RGB")) / 255
    camera, size = Cameras.at(0.0, 0.0), 128
    with torch.no_grad():
        field = scene.render(
            camera, size, size, samples=256, background=torch.zeros(3), normals=True
        )
    directions = camera.origins_and_directions(size, size)[1].mT.reshape(1, 3, size, size)
    # A ray at a slant goes sideways before the soft shell stops it.
    faces_us = -(field.normals * directions).sum(dim=1) > 0.7
    inside = ((field.opacity[:, 0] > 0.995) & faces_us)[0].numpy()
    assert inside.mean() > 0.02
    off = np.abs(shown - field.images[0].permute(1, 2, 0).numpy())[inside]
    assert (off < 3 / 255).mean() > 0.99
