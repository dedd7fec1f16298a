import itertools
import math

import pytest
import torch
from PIL import Image

from scorefield.cameras import Cameras, orbit
from scorefield.sds.nerf.assets.mesh import extract_surface
from scorefield.sds.nerf.assets.surface_views import shaded_views
from scorefield.sds.nerf.assets.turntable import save_turntable, view_sheet
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.nerf.fields import Field, VoxelGrid
from scorefield.sds.nerf.lights import Lights, Shading, draw_lights
from scorefield.sds.nerf.marching import Surface, normals_of
from scorefield.sds.nerf.penalties import (
    entropy_penalty,
    opacity_penalty,
    orientation_penalty,
    spread_penalty,
)
from scorefield.sds.nerf.radiance_field import RadianceField, Rendering, Sky

RED = (0.9, 0.2, 0.1)


class Fog(Field):
    """One density and colour throughout the unit sphere."""

    def __init__(self, density, colour=RED):
        super().__init__()
        self.sigma, self.colour = density, colour

    def forward(self, points):
        inside = (points.norm(dim=-1) <= 1).to(points)
        return self.sigma * inside, points.new_tensor(self.colour).expand(len(points), 3)


class Wall(Field):
    """Solid where towards.p < 0, soft over 1 / sharpness; red."""

    def __init__(self, towards, sharpness=20.0, density=200.0):
        super().__init__()
        self.towards, self.sharpness, self.sigma = towards, sharpness, density

    def forward(self, points):
        inside = (points.norm(dim=-1) <= 1).to(points)
        height = points @ points.new_tensor(self.towards)
        density = self.sigma * torch.sigmoid(-self.sharpness * height)
        return density * inside, points.new_tensor(RED).expand(len(points), 3)


class Ball(Field):
    """A hard ball, red in front and blue behind; empty from the radius on."""

    def __init__(self, radius=0.5, density=60.0):
        super().__init__()
        self.radius, self.sigma = radius, density

    def forward(self, points):
        density = self.sigma * (points.norm(dim=-1) < self.radius).to(points)
        front = points[:, :1] > 0
        red, blue = points.new_tensor(RED), points.new_tensor((0.1, 0.3, 0.9))
        return density, torch.where(front, red, blue)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_voxels(seed=0, resolution=8):
    field = VoxelGrid(resolution=resolution, levels=2)
    with torch.no_grad():
        for level in field.levels:
            level += 0.1 * torch.randn(level.shape, generator=generator(seed))
    return field


def chord(origins, directions):
    half_b = (origins * directions).sum(-1)
    inner = half_b.square() - (origins.square().sum(-1) - 1)
    return 2 * inner.clamp_min(0).sqrt()


# ------------------------------------------------------------------ the volume rendering law


@pytest.mark.parametrize("samples", [1, 7, 64])
@pytest.mark.parametrize("jitter", [None, 1])
def test_fog_has_its_closed_form(samples, jitter):
    cameras = orbit(2, 20.0).to(dtype=torch.float64)
    scene = RadianceField(Fog(0.7)).double()
    g = None if jitter is None else generator(jitter)
    seen = scene.render(cameras, 9, 9, samples=samples, generator=g, background=torch.zeros(3))
    length = chord(*cameras.origins_and_directions(9, 9)).view(2, 1, 9, 9)
    expected = 1 - torch.exp(-0.7 * length)
    torch.testing.assert_close(seen.opacity, expected, atol=1e-7, rtol=0)
    colour = torch.tensor(RED, dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close(seen.images, expected * colour, atol=1e-7, rtol=0)


def test_the_depth_of_fog_has_its_closed_form():
    # Through the centre: the mean of an exponential of rate s cut off at length 2.
    s, camera = 1.5, Cameras.at(0.0, 0.0).to(dtype=torch.float64)
    scene = RadianceField(Fog(s)).double()
    seen = scene.render(camera, 1, 1, samples=2000)
    mean = 1 / s - 2 / (math.exp(2 * s) - 1)
    assert seen.depth.item() == pytest.approx(2 + mean, abs=1e-5)
    square = 2 / s**2 - math.exp(-2 * s) * (4 + 4 / s) / (1 - math.exp(-2 * s))
    opacity = 1 - math.exp(-2 * s)
    assert seen.spread.item() == pytest.approx(opacity * (square - mean**2), abs=1e-5)


def test_the_background_shows_through():
    scene = RadianceField(Fog(0.5))
    cameras = orbit(3)
    white = scene.render(cameras, 6, 6, background=torch.ones(3))
    black = scene.render(cameras, 6, 6, background=torch.zeros(3, 3))
    difference = (white.images - black.images).mean(dim=1, keepdim=True)
    torch.testing.assert_close(difference, 1 - white.opacity)
    sky = scene.render(cameras, 6, 6)
    torch.testing.assert_close(sky.images, black.images + 0.8 * (1 - sky.opacity))


def test_a_camera_inside_sees_what_is_in_front_of_it():
    camera = Cameras.at(0.0, 0.0, distance=0.5, fov=1.0).to(dtype=torch.float64)
    seen = RadianceField(Fog(0.7)).double().render(camera, 1, 1)
    assert seen.opacity.item() == pytest.approx(1 - math.exp(-0.7 * 1.5), rel=1e-9)


def test_nothing_is_seen_of_nothing():
    scene = RadianceField(Fog(0.0))
    scene.update_occupancy()
    assert not scene.occupied.any()
    seen = scene.render(orbit(1), 4, 4, shading=Shading.LAMBERTIAN, background=torch.ones(3))
    assert (seen.opacity == 0).all()
    assert (seen.depth == 0).all()
    assert (seen.images == 1).all()
    assert (seen.normals == 0).all()


@pytest.mark.parametrize("shading", list(Shading))
def test_gradients_match_finite_differences(shading):
    scene = RadianceField(random_voxels(), background=Sky()).double()
    cameras = CameraDistribution().draw(2, generator(1)).to(dtype=torch.float64)
    lights = draw_lights(cameras, generator(2))
    weight = torch.rand(3, 3, 3, generator=generator(3)).double()

    def value():
        seen = scene.render(
            cameras,
            3,
            3,
            samples=12,
            shading=shading,
            lights=lights,
            generator=generator(4),
        )
        return (
            (weight * seen.images).sum()
            + opacity_penalty(seen)
            + entropy_penalty(seen)
            + spread_penalty(seen)
            + seen.depth.sum()
        )

    value().backward()
    for parameter in scene.parameters():
        along = torch.randn(parameter.shape, generator=generator(5)).to(parameter)
        slope, h, sides = (parameter.grad * along).sum(), 1e-6, []
        for sign in (1, -2):
            with torch.no_grad():
                parameter += sign * h * along
                sides.append(value())
        with torch.no_grad():
            parameter += h * along
        numeric = (sides[0] - sides[1]) / (2 * h)
        torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-7)


def test_the_same_generator_gives_the_same_bits():
    results = []
    for _ in range(2):
        scene = RadianceField(random_voxels(resolution=32))
        scene.update_occupancy(generator(1))
        cameras = CameraDistribution().draw(2, generator(2))
        seen = scene.render(cameras, 16, 16, shading=Shading.LAMBERTIAN, generator=generator(3))
        (seen.images.square().sum() + orientation_penalty(seen)).backward()
        results.append([seen.images, *(x.grad for x in scene.parameters()), scene.peak])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_images_do_not_depend_on_the_pieces(monkeypatch):
    scene, cameras = RadianceField(random_voxels()), orbit(2)
    whole = scene.render(cameras, 8, 8, generator=generator(1))
    monkeypatch.setattr("scorefield.sds.nerf.radiance_field.RAYS_AT_ONCE", 50)
    pieces = scene.render(cameras, 8, 8, generator=generator(1))
    torch.testing.assert_close(pieces.images, whole.images)


def test_what_is_not_possible_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        RadianceField().render(orbit(1), 0, 4)


# ------------------------------------------------------------------ empty space


def test_skipping_empty_space_changes_nothing():
    scene, cameras = RadianceField(Ball()), orbit(3, 20.0)
    full = scene.render(cameras, 24, 24, generator=generator(1), normals=True)
    scene.update_occupancy()
    share = scene.occupied.float().mean().item()
    # The ball fills 0.0654 of the cube; one cell more all around reaches to 0.55 at most.
    assert 0.0654 < share < 4 / 3 * math.pi * 0.555**3 / 8
    culled = scene.render(cameras, 24, 24, generator=generator(1), normals=True)
    for name, value in vars(full).items():
        torch.testing.assert_close(getattr(culled, name), value, msg=name)


def test_hidden_samples_hardly_matter(monkeypatch):
    scene, cameras = RadianceField(Ball(density=20.0)), orbit(2)
    cut = scene.render(cameras, 16, 16)
    monkeypatch.setattr("scorefield.sds.nerf.marching.VISIBLE", 1e-30)
    full = scene.render(cameras, 16, 16)
    assert 0 < (cut.images - full.images).abs().max() < 2e-4


def test_occupancy_fades_when_the_density_goes():
    field = Ball()
    scene = RadianceField(field, cells=16)
    scene.update_occupancy()
    field.sigma = 0.0
    scene.update_occupancy()
    assert scene.occupied.any()  # remembered for a while
    for _ in range(20):
        scene.update_occupancy()
    assert not scene.occupied.any()


def test_occupancy_is_saved_with_the_scene():
    scene = RadianceField(random_voxels())
    scene.update_occupancy(generator(1))
    again = RadianceField(random_voxels(1))
    again.load_state_dict(scene.state_dict())
    assert torch.equal(again.occupied, scene.occupied)
    points = torch.rand(100, 3, generator=generator(2)) - 0.5
    assert torch.equal(again.density(points), scene.density(points))


# ------------------------------------------------------------------ shading


def test_normals_point_out():
    points = 0.45 * torch.nn.functional.normalize(torch.randn(50, 3, generator=generator()))
    normals = normals_of(VoxelGrid().gradient(points))
    torch.testing.assert_close(normals, points / 0.45, atol=2e-3, rtol=0)


def test_voxels_read_their_slope_over_a_voxel_to_either_side():
    field, step = VoxelGrid(resolution=16, levels=2), 2 / 15
    with torch.no_grad():
        for level in field.levels:
            level.normal_(generator=generator(3)).mul_(0.1)
    points = torch.rand(40, 3, generator=generator(4)) - 0.5
    learnt = [
        (field.outputs(points + shift, 1) - field.outputs(points - shift, 1))[:, 0] / (2 * step)
        for shift in step * torch.eye(3)
    ]
    radius = points.norm(dim=-1, keepdim=True)
    slope = torch.stack(learnt, dim=-1) - field.blob_density / field.blob_radius * points / radius
    softplus = 1 - torch.exp(-field.density(points))  # its derivative
    torch.testing.assert_close(field.gradient(points), softplus[:, None] * slope)


@pytest.mark.parametrize("light", [(1.0, 0.0, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, 1.0)])
def test_lambert(light):
    # Seen head-on, an opaque wall with normal +x is albedo * (ambient + diffuse * max(0, l_x)).
    camera = Cameras.at(0.0, 0.0, fov=2.0)
    far = Lights.at(1e4 * torch.tensor([light]), ambient=0.25, diffuse=0.6)
    scene = RadianceField(Wall((1.0, 0.0, 0.0)))
    shade = 0.25 + 0.6 * light[0]
    lit = scene.render(camera, 2, 2, shading=Shading.LAMBERTIAN, lights=far)
    colour = torch.tensor(RED).view(1, 3, 1, 1)
    # 1 % for the samples too light to get a normal.
    torch.testing.assert_close(lit.images, (shade * colour).expand(1, 3, 2, 2), atol=0.01, rtol=0)
    white = scene.render(camera, 2, 2, shading=Shading.TEXTURELESS, lights=far)
    torch.testing.assert_close(white.images, torch.full((1, 3, 2, 2), shade), atol=0.01, rtol=0)
    plain = scene.render(camera, 2, 2, shading=Shading.ALBEDO, lights=far)
    torch.testing.assert_close(plain.images, colour.expand(1, 3, 2, 2), atol=1e-3, rtol=0)


def test_light_from_behind_leaves_the_ambient():
    camera = Cameras.at(0.0, 0.0, fov=2.0)
    behind = Lights.at(torch.tensor([[-50.0, 0.0, 0.0]]), ambient=0.3)
    seen = RadianceField(Wall((1.0, 0.0, 0.0))).render(
        camera, 1, 1, shading=Shading.TEXTURELESS, lights=behind
    )
    assert seen.images.flatten().tolist() == pytest.approx([0.3] * 3, abs=1e-4)


def test_a_rays_normals_stand_for_equal_parts_of_its_light():
    weight = torch.rand(6, 20, generator=generator(0))
    weight = weight / weight.sum(dim=1, keepdim=True)
    stopped, ray = weight.cumsum(dim=1).flatten(), torch.arange(6).repeat_interleave(20)
    solid = torch.tensor([0, 2, 3])
    surface = Surface.of(solid, 4, ray, stopped)
    at = surface.at.view(3, 4)
    assert (ray[at] == solid[:, None]).all()
    middle = (torch.arange(4) + 0.5) / 4
    ends = stopped[at]
    assert ((ends - weight.flatten()[at] < middle + 1e-6) & (middle < ends + 1e-6)).all()
    parts = torch.zeros(24).index_add(0, surface.part, weight.flatten())
    assert (parts - 1 / 4).abs().max() < weight.max()


@torch.no_grad()
def test_more_normals_light_a_soft_surface_more_as_those_of_all_samples_do():
    scene, cameras = RadianceField(), orbit(3, 20.0)

    def seen(normals):
        return scene.render(cameras, 24, 24, shading=Shading.LAMBERTIAN, normals_per_ray=normals)

    every = seen(256)
    for name in ("images", "normals"):
        off = [(getattr(seen(n), name) - getattr(every, name)).abs().mean() for n in (1, 2, 4, 8)]
        assert all(0 < more < 0.7 * fewer for fewer, more in itertools.pairwise(off)), off


def test_orientation_is_zero_for_normals_that_face_the_camera():
    camera = Cameras.at(0.0, 0.0, fov=10.0)
    facing = RadianceField(Wall((1.0, 0.0, 0.0))).render(camera, 4, 4, normals=True)
    assert orientation_penalty(facing).item() == 0
    # Fog that thickens towards the camera shows its far side: n.d = 1 wherever it has weight.
    fog = Wall((-1.0, 0.0, 0.0), sharpness=2.0, density=2.0)
    away = RadianceField(fog).render(camera, 4, 4, normals=True)
    assert orientation_penalty(away).item() == pytest.approx(away.opacity.mean().item(), rel=0.1)


def test_orientation_needs_normals():
    with pytest.raises(ValueError, match="normals=True"):
        orientation_penalty(RadianceField(Fog(1.0)).render(orbit(1), 2, 2))


def test_lights_are_drawn_around_the_camera():
    cameras = Cameras.at([30.0] * 4000, 20.0, 3.0)
    lights = draw_lights(cameras, generator(1), spread=0.3)
    distance = lights.position.norm(dim=-1)
    assert 2.4 <= distance.min() < 2.42
    assert 4.48 < distance.max() <= 4.5
    towards = lights.position / distance[:, None]
    mean = torch.nn.functional.normalize(towards.mean(0), dim=0)
    # The mean direction of 4000 with 0.3 of jitter: standard error 0.005 per axis.
    torch.testing.assert_close(mean, cameras.position[0] / 3, atol=0.025, rtol=0)
    close = draw_lights(cameras, generator(1), spread=0.0)
    torch.testing.assert_close(
        torch.nn.functional.normalize(close.position, dim=-1), cameras.position / 3
    )


def test_the_sky_is_smooth_and_starts_even():
    sky = Sky(brightness=0.6)
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator()), dim=-1)
    torch.testing.assert_close(sky(directions), torch.full((20, 3), 0.6))


# ------------------------------------------------------------------ regularisers


def flat(opacity, spread=0.0):
    one = torch.ones(1, 1, 2, 2)
    return Rendering(
        images=torch.zeros(1, 3, 2, 2), opacity=opacity * one, depth=one, spread=spread * one
    )


@pytest.mark.parametrize("o", [0.0, 0.3, 1.0])
def test_penalties_have_their_closed_forms(o):
    assert opacity_penalty(flat(o)).item() == pytest.approx(math.sqrt(o * o + 0.01))
    entropy = 0 if o in (0, 1) else -o * math.log2(o) - (1 - o) * math.log2(1 - o)
    assert entropy_penalty(flat(o)).item() == pytest.approx(entropy, abs=3e-4)
    assert spread_penalty(flat(o, 0.25)).item() == pytest.approx(0.25)


# ------------------------------------------------------------------ all of it


def test_a_scene_learns_an_object_from_twelve_views():
    truth = RadianceField(Ball())
    truth.update_occupancy()
    cameras, others = CameraDistribution().draw(12, generator(0)), orbit(4, 10.0)
    white, size = torch.ones(3), 32
    with torch.no_grad():
        images = truth.render(cameras, size, size, background=white, samples=128).images
        unseen = truth.render(others, size, size, background=white, samples=128).images

    scene, g = RadianceField(), generator(1)
    optimiser = torch.optim.Adam(scene.parameters(), lr=0.01, betas=(0.9, 0.99), eps=1e-15)
    for step in range(60):
        if step % 10 == 0:
            scene.update_occupancy(g)
        some = torch.randperm(12, generator=g)[:4]
        seen = scene.render(cameras[some], size, size, background=white, generator=g)
        loss = (seen.images - images[some]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    with torch.no_grad():
        error = scene.render(others, size, size, background=white).images - unseen
    psnr = -10 * error.square().mean().log10().item()
    assert psnr > 25
    # Space was skipped: about a tenth of the cube is looked at.
    assert scene.occupied.float().mean() < 0.2


def test_a_turntable_is_an_animation(tmp_path):
    scene = RadianceField(Ball())
    scene.update_occupancy()
    path = save_turntable(scene, tmp_path / "out" / "turn.gif", frames=5, size=16)
    with Image.open(path) as gif:
        assert gif.n_frames == 5
        assert gif.size == (16, 16)
    with pytest.raises(ValueError, match=r"\.gif or \.mp4"):
        save_turntable(scene, tmp_path / "turn.avi")


def test_the_lower_views_are_of_the_surface_and_empty_without_one():
    scene = RadianceField(Ball())
    scene.update_occupancy()
    sheet = view_sheet(scene, 16)
    assert sheet.shape == (3, 2 + 2 * 30, 2 + 5 * 18)
    lower = sheet[:, 32:48, 2:18]
    surface = extract_surface(scene, 64)
    expected = shaded_views(surface, Cameras.at([0.0], [15.0]), 16)[0]
    torch.testing.assert_close(lower, expected)
    assert torch.equal(sheet, view_sheet(scene, 16, mesh=surface))
    empty = RadianceField(Ball(density=0.0))
    empty.update_occupancy()
    assert (view_sheet(empty, 16)[:, 32:48, 2:18] == 0.8).all()
