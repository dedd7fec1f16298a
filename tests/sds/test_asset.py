"""From a scene to a textured mesh, and what other readers see of its files."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from scorefield.cameras import Cameras
from scorefield.sds.nerf.assets.asset import make_asset, painted, simplify, unwrap
from scorefield.sds.nerf.assets.mesh import silhouette_threshold
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.rasterise import rasterise, silhouette
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.surface_views import (
    asset_views,
    is_closed,
    render_texture,
    shaded_views,
    surface_values,
    texture_of,
)
from scorefield.sds.nerf.assets.texels import fill_gaps, texel_values
from scorefield.sds.nerf.radiance_field import RadianceField
from tests.support.egg import Egg

SETTINGS = AssetSettings(mesh_resolution=96, faces=2000, texture=512)


@pytest.fixture(scope="module")
def scene() -> RadianceField:
    scene = RadianceField(Egg())
    scene.update_occupancy()
    return scene


@pytest.fixture(scope="module")
def asset(scene: RadianceField) -> trimesh.Trimesh:
    return make_asset(scene, SETTINGS)


@pytest.fixture(scope="module")
def files(asset: trimesh.Trimesh, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("asset")
    paths = export_mesh(asset, folder, title="a spotted  egg")
    assert sorted(folder.iterdir()) == sorted(paths), "nothing else is left behind"
    return {path.suffix[1:]: path for path in paths}


def test_weights_place_the_pixels_centres() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = 20 * torch.rand(50, 3, 2, generator=generator, dtype=torch.float64) - 2
    found = rasterise(corners, 16)
    centres = torch.stack([found.column, found.row], dim=-1) + 0.5
    faces = torch.arange(150).view(50, 3)
    torch.testing.assert_close(found.mix(corners.flatten(0, 1), faces), centres.double())
    # Of random triangles the pixels inside make up the area inside the image, on average.
    inside = corners[((corners >= 0) & (corners <= 16)).all(dim=-1).all(dim=-1)]
    along, to = inside[:, 1] - inside[:, 0], inside[:, 2] - inside[:, 0]
    area = 0.5 * (along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]).abs().sum()
    assert len(rasterise(inside, 16).face) == pytest.approx(area.item(), rel=0.05)


def test_a_triangle_without_area_covers_nothing() -> None:
    line = torch.tensor([[[0.5, 0.5], [3.5, 3.5], [6.5, 6.5]]])
    assert len(rasterise(line, 8).face) == 0


def test_simplifying_keeps_the_shape() -> None:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    light = simplify(ball, 2000)
    assert len(light.faces) <= 2000
    assert light.is_watertight and light.euler_number == 2
    assert light.volume == pytest.approx(ball.volume, rel=5e-3)
    outward = light.vertices / np.linalg.norm(light.vertices, axis=1, keepdims=True)
    assert (np.sum(outward * light.vertex_normals, axis=1) > 0.999).all()
    assert simplify(light, 5000) is light


def test_unwrapping_keeps_the_surface_and_gives_every_triangle_a_place_of_its_own() -> None:
    knot = trimesh.creation.torus(0.5, 0.2)
    flat = unwrap(knot, 256)
    np.testing.assert_allclose(flat.triangles, knot.triangles, atol=1e-6)
    assert flat.visual.uv.min() >= 0 and flat.visual.uv.max() <= 1
    corners = 1024 * torch.as_tensor(np.array(flat.visual.uv))[torch.as_tensor(flat.faces)]
    found = rasterise(corners, 1024)
    texel = found.row * 1024 + found.column
    assert len(texel.unique()) > 0.99 * len(texel)  # but for centres on an edge of two


def test_texels_interpolate_the_vertices() -> None:
    square = trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    square.visual = trimesh.visual.TextureVisuals(uv=square.vertices[:, :2])
    values = torch.full((4, 4, 2), torch.nan)
    for row, column, found in texel_values(square, torch.as_tensor(square.vertices[:, :2]), 4):
        values[row, column] = found.float()
    assert not values.isnan().any(), "all are covered"
    middles = (torch.arange(4) + 0.5) / 4
    torch.testing.assert_close(values[..., 0], middles.expand(4, 4))
    torch.testing.assert_close(values[..., 1], middles.flip(0)[:, None].expand(4, 4))  # v up


def test_gaps_take_the_nearest_texel() -> None:
    picture, covered = torch.zeros(8, 8, 1), torch.zeros(8, 8, dtype=torch.bool)
    for row, column, value in ((1, 1, 1.0), (6, 6, 2.0)):
        picture[row, column], covered[row, column] = value, True
    filled = fill_gaps(picture, covered)[..., 0]
    assert filled[0, 0] == filled[3, 2] == 1 and filled[7, 7] == filled[4, 6] == 2
    with pytest.raises(ValueError, match="take a larger texture"):
        fill_gaps(picture, torch.zeros(8, 8, dtype=torch.bool))


def test_pixels_look_where_rays_hit() -> None:
    pytest.importorskip("rtree")
    shapes = [trimesh.creation.box([0.5, 0.9, 0.4]), trimesh.creation.icosphere(2, 0.35)]
    mesh = trimesh.util.concatenate(shapes)
    cameras, size = Cameras.at([20.0, 140.0], [30.0, -20.0], 1.5, 60.0), 24
    places, seen = surface_values(mesh, torch.as_tensor(np.array(mesh.vertices)), cameras, size)
    origins, directions = cameras.origins_and_directions(size, size)
    for i in range(2):
        hits, rays, _ = mesh.ray.intersects_location(
            origins[i].numpy(), directions[i].numpy(), multiple_hits=False
        )
        assert seen[i].flatten().nonzero()[:, 0].tolist() == sorted(rays)
        np.testing.assert_allclose(places[i].view(-1, 3)[rays], hits, atol=1e-5)


def test_closed_is_what_is_solid_and_outward(asset: trimesh.Trimesh) -> None:
    box, ball = trimesh.creation.box([0.2] * 3), trimesh.creation.icosphere(1, 0.5)
    ball.apply_translation([2.0, 0.0, 0.0])
    assert is_closed(box) and is_closed(trimesh.util.concatenate([box, ball]))
    assert is_closed(asset) and not asset.is_watertight, "its seams are none"
    assert not is_closed(trimesh.Trimesh(box.vertices, box.faces[1:]))
    inward = box.copy()
    inward.invert()
    assert not is_closed(inward)
    assert not is_closed(trimesh.util.concatenate([inward, ball])), "the ball is the larger one"


def test_of_a_closed_mesh_what_is_turned_away_is_not_seen(asset: trimesh.Trimesh) -> None:
    cameras = Cameras.at([20.0, 140.0, 300.0], [30.0, -20.0, 80.0])
    for mesh in (asset, trimesh.creation.torus(0.5, 0.2)):
        values = torch.as_tensor(np.array(mesh.vertices))
        for whole, half in zip(
            surface_values(mesh, values, cameras, 48),
            surface_values(mesh, values, cameras, 48, closed=True),
            strict=True,
        ):
            assert torch.equal(whole, half)


def test_a_ball_is_shaded_by_lamberts_law() -> None:
    ball, cameras, size = trimesh.creation.icosphere(5, 0.5), Cameras.at([20.0], [30.0]), 48
    image = shaded_views(ball, cameras, size)[0]
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    origins, directions = (x[0] for x in cameras.origins_and_directions(size, size))
    middle = -(origins * directions).sum(dim=1)
    closest = (origins + middle[:, None] * directions).square().sum(dim=1)
    place = origins + (middle - (0.5**2 - closest).clamp_min(0).sqrt())[:, None] * directions
    cosine = -(place / 0.5 * torch.nn.functional.normalize(place - origins, dim=1)).sum(dim=1)
    inside = closest < 0.4**2
    torch.testing.assert_close(
        image[0].flatten()[inside], (0.1 + 0.9 * cosine)[inside], atol=5e-3, rtol=0
    )
    assert (image[0].flatten()[closest > 0.53**2] == 0.8).all()


def test_the_asset_is_closed_light_and_of_the_fields_shape(
    scene: RadianceField, asset: trimesh.Trimesh
) -> None:
    assert len(asset.faces) <= 2000
    closed = asset.copy()
    closed.merge_vertices(merge_tex=True, merge_norm=True)
    assert closed.is_watertight
    share = 1 - 0.1 * silhouette_threshold(scene) / 500  # of the axes, at that density
    expected = share * np.outer([-1, 1], [0.7, 0.3, 0.5])
    cell = 2 / (SETTINGS.mesh_resolution - 1)
    np.testing.assert_allclose(closed.bounds, expected, atol=cell)


def test_the_asset_looks_like_the_field(scene: RadianceField, asset: trimesh.Trimesh) -> None:
    cameras, size = Cameras.at([10.0, 100.0, 190.0], [15.0, 60.0, -40.0]), 64
    with torch.no_grad():
        field = scene.render(
            cameras, size, size, samples=256, background=torch.zeros(3), normals=True
        )
    seen = render_texture(asset, texture_of(asset), cameras, size, torch.zeros(3, 1, 1))
    directions = cameras.origins_and_directions(size, size)[1].mT.reshape(3, 3, size, size)
    # A ray at a slant goes sideways before the soft shell stops it.
    faces_us = -(field.normals * directions).sum(dim=1, keepdim=True) > 0.7
    inside = ((field.opacity > 0.995) & faces_us).expand(-1, 3, -1, -1)
    assert inside.float().mean() > 0.05
    assert ((field.images - seen).abs()[inside] < 3 / 255).float().mean() > 0.99


def test_images_of_an_asset_have_smooth_edges(asset: trimesh.Trimesh) -> None:
    black, cameras = painted(asset, torch.zeros(8, 8, 3)), Cameras.at([40.0, 250.0], 20.0)
    covered = silhouette(asset, cameras, 64).float()
    share = covered.view(2, 32, 2, 32, 2).mean(dim=(2, 4))
    pictures = asset_views(black, cameras, 32)
    torch.testing.assert_close(pictures, (0.8 * (1 - share))[:, None].expand(-1, 3, -1, -1))


def nearest_colours(scene: RadianceField, points: np.ndarray) -> np.ndarray:
    return scene.field(torch.as_tensor(points).float())[1].numpy()


@pytest.mark.parametrize(("suffix", "axes"), [("glb", [1, 2, 0]), ("obj", [1, 2, 0])])
def test_trimesh_reads_axes_texture_and_name(
    scene: RadianceField,
    asset: trimesh.Trimesh,
    files: dict[str, Path],
    suffix: str,
    axes: list[int],
) -> None:
    again = trimesh.load_scene(files[suffix])
    assert [name.replace("_", " ") for name in again.geometry] == ["a spotted egg"]
    mesh = again.to_mesh()
    np.testing.assert_allclose(mesh.bounds, asset.bounds[:, axes], atol=1e-4)
    colours = np.asarray(mesh.visual.to_color().vertex_colors)[:, :3] / 255
    field = nearest_colours(scene, mesh.vertices[:, np.argsort(axes)])
    assert np.quantile(np.abs(colours - field), 0.98) < 4 / 255  # half a texel, about


def test_pygltflib_reads_one_matte_material_and_the_texture(
    asset: trimesh.Trimesh, files: dict[str, Path]
) -> None:
    gltf = pytest.importorskip("pygltflib").GLTF2().load(files["glb"])
    (material,), (mesh,) = gltf.materials, gltf.meshes
    assert mesh.name == "a spotted egg"
    pbr = material.pbrMetallicRoughness
    assert (pbr.metallicFactor, pbr.roughnessFactor) == (0, 1)
    (primitive,) = mesh.primitives
    assert primitive.material == 0 and primitive.attributes.NORMAL is not None
    place = gltf.accessors[primitive.attributes.POSITION]
    np.testing.assert_allclose([place.min, place.max], asset.bounds[:, [1, 2, 0]], atol=1e-5)
    image = gltf.images[gltf.textures[pbr.baseColorTexture.index].source]
    view = gltf.bufferViews[image.bufferView]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    assert data.rstrip(b"\0") == files["png"].read_bytes().rstrip(b"\0"), "encoded once"
    with Image.open(files["png"]) as written:
        picture = texture_of(asset).permute(1, 2, 0) * 255
        assert written.size == (512, 512)
        assert np.array_equal(np.array(written.convert("RGB")), picture.round().byte().numpy())


def test_ply_is_closed_and_coloured(scene: RadianceField, files: dict[str, Path]) -> None:
    mesh = trimesh.load_mesh(files["ply"])
    assert mesh.is_watertight
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    assert np.quantile(np.abs(colours - nearest_colours(scene, mesh.vertices)), 0.98) < 4 / 255


def test_up_is_a_choice_but_for_gltf(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    for up, axes in (("y", [1, 2, 0]), ("z", [0, 1, 2])):
        glb, obj, ply, *_ = export_mesh(asset, tmp_path, up=up)
        for path in (obj, ply):
            bounds = trimesh.load_mesh(path).bounds
            np.testing.assert_allclose(bounds, asset.bounds[:, axes], atol=1e-4)
        np.testing.assert_allclose(
            trimesh.load_scene(glb).bounds, asset.bounds[:, [1, 2, 0]], atol=1e-5
        )


def test_a_mesh_without_colours_is_refused(tmp_path: Path) -> None:
    bare = trimesh.creation.box()
    with pytest.raises(ValueError, match="must have a texture or colours"):
        export_mesh(bare, tmp_path / "new")
    bare.visual.vertex_colors = np.full((8, 4), 200, np.uint8)
    with pytest.raises(ValueError, match="of a mesh with a texture; this one has none"):
        export_mesh(bare, tmp_path / "new", usdz=True)
    assert not (tmp_path / "new").exists()
