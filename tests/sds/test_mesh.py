import json
import math

import numpy as np
import pytest
import torch
import trimesh

from scorefield.cameras import Cameras, orbit
from scorefield.sds.nerf.assets.mesh import EmptySceneError, extract_mesh, silhouette_threshold
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.rasterise import silhouette
from scorefield.sds.nerf.fields import Field, VoxelGrid
from scorefield.sds.nerf.radiance_field import RadianceField

RED, BLUE = (0.9, 0.2, 0.1), (0.1, 0.3, 0.8)


class Balls(Field):
    """Solid balls (centre, radius), soft over 0.02; red for y > 0, blue for y < 0."""

    def __init__(self, *balls, density=100.0, hollow=0.0):
        super().__init__()
        self.balls, self.sigma, self.hollow = balls, density, hollow

    def forward(self, points):
        density = torch.zeros_like(points[:, 0])
        for centre, radius in self.balls:
            distance = (points - points.new_tensor(centre)).norm(dim=-1) - radius
            if self.hollow:
                distance = torch.maximum(distance, self.hollow - radius - distance)
            density = torch.maximum(density, self.sigma * torch.sigmoid(-distance / 0.01))
        red, blue = points.new_tensor(RED), points.new_tensor(BLUE)
        return density, torch.where(points[:, 1:2] > 0, red, blue)


def scene_of(*balls, **given):
    scene = RadianceField(Balls(*balls, **given))
    scene.update_occupancy()
    return scene


@pytest.fixture(scope="module")
def scene():
    return scene_of(((0.0, 0.1, 0.0), 0.5))


@pytest.fixture(scope="module")
def mesh(scene):
    return extract_mesh(scene, resolution=64)


def iou(a, b):
    return ((a & b).sum() / (a | b).sum()).item()


def test_a_ball_is_a_ball(scene):
    mesh = extract_mesh(scene, resolution=64, threshold=50.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.02)
    radius = np.linalg.norm(mesh.vertices - [0.0, 0.1, 0.0], axis=1)
    assert np.abs(radius - 0.5).max() < 0.01
    outward = np.sum(mesh.face_normals * (mesh.triangles_center - [0.0, 0.1, 0.0]), axis=1)
    assert (outward > 0).all()


def test_its_silhouette_is_the_renderings(scene, mesh):
    cameras = orbit(4, 25.0)
    with torch.no_grad():
        opaque = scene.render(cameras, 64, 64).opacity[:, 0] > 0.5
    for ours, theirs in zip(silhouette(mesh, cameras, 64), opaque, strict=True):
        assert iou(ours, theirs) >= 0.97


def test_thin_fog_has_a_low_threshold():
    # A ray through the middle meets 2 * 0.5 * density; opacity 1/2 needs ln 2.
    assert 0 < silhouette_threshold(scene_of(((0.0, 0.0, 0.0), 0.5), density=1.0)) < 1
    solid = silhouette_threshold(scene_of(((0.0, 0.0, 0.0), 0.5), density=200.0))
    assert 1 < solid < 200


def test_colours_are_the_fields(mesh):
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    left, right = mesh.vertices[:, 1] < -0.05, mesh.vertices[:, 1] > 0.05
    np.testing.assert_allclose(colours[right], np.tile(RED, (right.sum(), 1)), atol=0.01)
    np.testing.assert_allclose(colours[left], np.tile(BLUE, (left.sum(), 1)), atol=0.01)


def test_floaters_are_dropped_and_parts_kept():
    big, part, floater = ((0.0, 0.0, 0.0), 0.4), ((0.0, 0.7, 0.0), 0.2), ((0.0, 0.0, 0.8), 0.08)
    mesh = extract_mesh(scene_of(big, part, floater), resolution=64, threshold=50.0)
    assert mesh.body_count == 2
    assert mesh.bounds[1, 2] < 0.45
    everything = extract_mesh(
        scene_of(big, part, floater), resolution=64, threshold=50.0, smallest=0.0
    )
    assert everything.body_count == 3


def test_hollows_are_filled():
    scene = scene_of(((0.0, 0.0, 0.0), 0.5), hollow=0.2)
    assert scene.density(torch.zeros(1, 3)) < 1
    mesh = extract_mesh(scene, resolution=64, threshold=50.0)
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.02)


def test_what_reaches_the_border_is_closed():
    mesh = extract_mesh(
        RadianceField(VoxelGrid(blob_density=100.0, blob_radius=3.0)), resolution=24
    )
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi, rel=0.1)


def test_the_silhouette_is_what_ray_casting_gives():
    pytest.importorskip("rtree")
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.6)
    box = trimesh.creation.box([0.3, 1.4, 0.2])
    both = trimesh.util.concatenate([ball, box])
    cameras, size = Cameras.at([10.0, 100.0], [20.0, 70.0]), 24
    covered = silhouette(both, cameras, size)
    origins, directions = cameras.origins_and_directions(size, size)
    for i in range(2):
        hit = both.ray.intersects_any(origins[i].numpy(), directions[i].numpy())
        assert torch.equal(covered[i].flatten(), torch.from_numpy(hit))


def test_a_mesh_behind_the_camera_is_refused():
    with pytest.raises(ValueError, match="behind a camera"):
        silhouette(trimesh.creation.box([4.0, 4.0, 4.0]), Cameras.at(0.0, distance=1.0), 8)


def test_files_open_again(mesh, tmp_path):
    glb, obj, ply = export_mesh(mesh, tmp_path / "assets")
    assert [path.name for path in (glb, obj, ply)] == ["mesh.glb", "mesh.obj", "mesh.ply"]
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(int)
    for path, axes in ((obj, [1, 2, 0]), (ply, [0, 1, 2])):
        again = trimesh.load(path, process=False)
        np.testing.assert_allclose(again.vertices, mesh.vertices[:, axes], atol=1e-5)
        kept = np.asarray(again.visual.vertex_colors)[:, :3].astype(int)
        assert np.abs(kept - colours).max() <= 1
        assert len(again.faces) == len(mesh.faces)


def read_glb(path):
    """The JSON and the binary chunk of a binary glTF file."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def test_gltf_is_y_up_linear_and_matte(mesh, tmp_path):
    path = export_mesh(mesh, tmp_path)[0]
    again = trimesh.load(path, process=False, force="mesh")
    # World (x, y, z) is glTF (y, z, x): the front, +x, becomes +z; up, +z, becomes +y.
    np.testing.assert_allclose(again.vertices, mesh.vertices[:, [1, 2, 0]], atol=1e-5)
    assert again.volume == pytest.approx(mesh.volume, rel=1e-4)
    # trimesh reads no vertex colours beside a material, so the file is read by hand.
    tree, data = read_glb(path)
    primitive = tree["meshes"][0]["primitives"][0]
    material = tree["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert "NORMAL" in primitive["attributes"]
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["normalized"]) == (5121, True)
    view = tree["bufferViews"][accessor["bufferView"]]
    linear = np.frombuffer(data, np.uint8, view["byteLength"], view["byteOffset"]).reshape(-1, 4)
    srgb = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    expected = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(linear[:, :3] / 255, expected, atol=0.003)


def test_an_empty_scene_says_so():
    with pytest.raises(EmptySceneError, match=r"no ray has an opacity above 1/2.*train longer"):
        extract_mesh(scene_of())
    with pytest.raises(EmptySceneError, match=r"no density above 20.*train longer"):
        extract_mesh(scene_of(((0.0, 0.0, 0.0), 0.5), density=10.0), 32, threshold=20.0)
    assert issubclass(EmptySceneError, ValueError)


def test_impossible_settings_are_refused(scene):
    with pytest.raises(ValueError, match="resolution must be at least 8"):
        extract_mesh(scene, resolution=4)
    with pytest.raises(ValueError, match="threshold must be a density above 0"):
        extract_mesh(scene, resolution=16, threshold=0.0)
