"""Normals in a texture: their frames by closed forms, and what a reader makes of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from scorefield.sds.nerf.assets.asset import painted, simplify, unwrap
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.normal_map import add_normal_map, tangents
from scorefield.sds.nerf.assets.texels import texel_values

AXES = np.array([0.7, 0.3, 0.5])


@pytest.fixture(scope="module")
def asset() -> trimesh.Trimesh:
    """An ellipsoid of 300 triangles with the normals of one of 20,480."""
    dense = trimesh.creation.icosphere(5)
    dense.apply_scale(AXES)
    light = unwrap(simplify(dense, 300), 256)
    return add_normal_map(painted(light, torch.full((256, 256, 3), 0.5)), dense, 256)


@pytest.mark.parametrize(("across", "expected"), [(1, [1, 0, 0, 1]), (-1, [-1, 0, 0, -1])])
def test_on_a_plane_the_tangent_is_where_u_rises(across: int, expected: list[float]) -> None:
    places = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    square = trimesh.Trimesh(
        places, [[0, 1, 2], [0, 2, 3]], vertex_normals=[[0, 0, 1]] * 4, process=False
    )
    uv = places[:, :2] * [across, 1]
    square.visual = trimesh.visual.TextureVisuals(uv=uv)
    np.testing.assert_allclose(tangents(square), [expected] * 4, atol=1e-12)


def test_tangents_are_unit_and_square_to_the_normals_and_turn_with_the_mesh(
    asset: trimesh.Trimesh,
) -> None:
    found = tangents(asset)
    np.testing.assert_allclose(np.linalg.norm(found[:, :3], axis=1), 1)
    np.testing.assert_allclose((found[:, :3] * asset.vertex_normals).sum(axis=1), 0, atol=1e-9)
    turn = trimesh.transformations.rotation_matrix(1.0, [1, 2, 3])
    turned = asset.copy(include_cache=True).apply_transform(turn)
    np.testing.assert_allclose(tangents(turned)[:, :3], found[:, :3] @ turn[:3, :3].T, atol=1e-6)


def test_texels_show_normals_that_few_vertices_do_not(asset: trimesh.Trimesh) -> None:
    found = tangents(asset)
    vectors = np.concatenate([asset.vertices, asset.vertex_normals, found], axis=1)
    picture = np.asarray(asset.visual.material.normalTexture, float) / 127.5 - 1
    plain, mapped = [], []
    for row, column, at in texel_values(asset, torch.from_numpy(vectors), 256):
        place, normal, tangent = (at[:, i : i + 3].numpy() for i in (0, 3, 6))
        bitangent = np.sign(at[:, 9:].numpy()) * np.cross(normal, tangent)
        x, y, z = picture[row, column].T[..., None]
        shown = x * tangent + y * bitangent + z * normal
        true = place / AXES**2
        for vectors, angles in ((normal, plain), (shown, mapped)):
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(true, axis=1)
            angles.append(
                np.degrees(np.arccos(np.clip((vectors * true).sum(axis=1) / lengths, -1, 1)))
            )
    assert np.concatenate(mapped).mean() < np.concatenate(plain).mean() / 2


def test_the_glb_has_the_texture_and_its_tangents(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    glb = export_mesh(asset, tmp_path)[0]
    assert not list(tmp_path.glob("*ormal*"))
    gltf = pytest.importorskip("pygltflib").GLTF2().load(glb)
    (material,), (primitive,) = gltf.materials, gltf.meshes[0].primitives
    assert material.normalTexture.index != material.pbrMetallicRoughness.baseColorTexture.index
    accessor = gltf.accessors[primitive.attributes.TANGENT]
    assert (accessor.type, accessor.componentType, accessor.count) == (
        "VEC4",
        5126,
        len(asset.vertices),
    )
    again = trimesh.load_scene(glb).to_mesh().visual.material
    for name in ("normalTexture", "baseColorTexture"):
        read, written = getattr(again, name), getattr(asset.visual.material, name)
        assert np.array_equal(np.asarray(read.convert("RGB")), np.asarray(written)), name
    view = gltf.bufferViews[accessor.bufferView]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    stored = np.frombuffer(data, np.float32).reshape(-1, 4)
    np.testing.assert_allclose(stored[:, :3], tangents(asset)[:, [1, 2, 0]], atol=1e-5)
