import math

import pytest
import torch

from scorefield.cameras import Cameras, orbit, view_prompt
from scorefield.sds.nerf.camera_distribution import CameraDistribution


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_front_camera_is_on_x_with_y_to_the_right_and_z_up():
    camera = Cameras.at(0.0, 0.0, distance=3.0)
    torch.testing.assert_close(camera.position, torch.tensor([[3.0, 0.0, 0.0]]))
    right, up, back = camera.rotation[0].unbind(-1)
    torch.testing.assert_close(right, torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(up, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(back, torch.tensor([1.0, 0.0, 0.0]))


def test_positions_follow_the_angles():
    cameras = Cameras.at([90.0, 30.0], [0.0, 45.0], distance=2.0)
    torch.testing.assert_close(cameras.position[0], torch.tensor([0.0, 2.0, 0.0]))
    half = math.sqrt(2)
    expected = [half * math.cos(math.pi / 6), half * math.sin(math.pi / 6), half]
    torch.testing.assert_close(cameras.position[1], torch.tensor(expected))


def test_rotations_are_rotations():
    cameras = CameraDistribution.dreamfusion().draw(64, generator())
    rotation = cameras.rotation.double()
    eye = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation.det(), torch.ones(64, dtype=torch.float64))


@pytest.mark.parametrize("elevation", [90.0, -90.0])
def test_straight_above_or_below_the_azimuth_gives_the_roll(elevation):
    cameras = Cameras.at([0.0, 90.0], elevation)
    torch.testing.assert_close(cameras.rotation[0, :, 0], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(cameras.rotation[1, :, 0], torch.tensor([-1.0, 0.0, 0.0]))
    assert torch.isfinite(cameras.origins_and_directions(2, 2)[1]).all()


def test_the_corner_ray_is_the_law():
    _, directions = Cameras.at(0.0, 0.0, fov=60.0).origins_and_directions(4, 6)
    focal = 3 / math.tan(math.radians(30))
    local = torch.tensor([(0.5 - 3) / focal, -(0.5 - 2) / focal, -1.0])
    expected = torch.stack([-torch.tensor(1.0), local[0], local[1]])
    torch.testing.assert_close(directions[0, 0], expected / expected.norm())


def test_a_point_on_a_ray_projects_to_its_pixel():
    cameras = CameraDistribution.dreamfusion().draw(5, generator(1)).to(dtype=torch.float64)
    height, width = 5, 7
    origins, directions = cameras.origins_and_directions(height, width)
    pixels, depth = cameras.project(origins + 0.7 * directions, height, width)
    row, column = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    expected = torch.stack([column + 0.5, row + 0.5], dim=-1).view(1, -1, 2).double()
    torch.testing.assert_close(pixels, expected.expand_as(pixels))
    cosine = -(directions * cameras.rotation[:, None, :, 2]).sum(-1)
    torch.testing.assert_close(depth, 0.7 * cosine)


def test_the_default_distribution_is_the_worlds():
    n = 4000
    cameras = CameraDistribution().draw(n, generator(2))
    overhead = cameras.elevation > 55
    assert overhead.float().mean().item() == pytest.approx(0.15, abs=5 * 0.0057)
    assert cameras.elevation[overhead].min() >= 60
    assert cameras.elevation[overhead].max() <= 90
    level = cameras.elevation[~overhead]
    assert -10 <= level.min() < -9
    assert 49 < level.max() <= 50
    # Mean of U(-10, 50): 20, standard error 17.3 / sqrt(3400) = 0.3.
    assert level.mean().item() == pytest.approx(20, abs=1.5)
    assert 2.8 <= cameras.distance.min() < 2.81
    assert 3.19 < cameras.distance.max() <= 3.2
    torch.testing.assert_close(cameras.fov, torch.full((n,), 40.0))
    # The relative error of a standard deviation from m numbers is 1 / sqrt(2 m): 0.65 %.
    assert cameras.look_at.std().item() == pytest.approx(0.03, rel=0.033)
    assert (cameras.up == torch.tensor([0.0, 0.0, 1.0])).all()


def test_dreamfusions_numbers():
    cameras = CameraDistribution.dreamfusion().draw(8000, generator(3))
    assert cameras.fov.min().item() == pytest.approx(40.6, abs=0.1)
    assert cameras.fov.max().item() == pytest.approx(71.1, abs=0.1)
    focal = 0.5 / torch.tan(torch.deg2rad(cameras.fov) / 2)
    # Uniform in 0.7..1.35: mean 1.025, standard error 0.188 / sqrt(8000) = 0.0021.
    assert focal.mean().item() == pytest.approx(1.025, abs=0.0105)
    assert cameras.distance.min() >= 1
    assert cameras.distance.max() <= 1.5
    assert -10 <= cameras.elevation.min() < -9
    assert 85 < cameras.elevation.max() <= 90
    # Half uniform in the angle (0.30 above 60 degrees), half in the sine (0.1141): 0.2071.
    s = math.sin(math.radians(-10))
    share = 0.5 * 0.3 + 0.5 * (1 - math.sin(math.radians(60))) / (1 - s)
    error = math.sqrt(share * (1 - share) / 8000)
    overhead = (cameras.elevation > 60).float().mean().item()
    assert overhead == pytest.approx(share, abs=5 * error)
    assert cameras.look_at.std().item() == pytest.approx(0.2, rel=0.03)
    assert cameras.up[:, :2].std().item() == pytest.approx(0.02, rel=0.03)


def test_one_draw_looks_from_all_around():
    g = generator(4)
    for _ in range(20):
        azimuth = CameraDistribution().draw(4, g).azimuth.sort().values
        gaps = torch.diff(azimuth, append=azimuth[:1] + 360)
        assert (gaps > 0).all()
        assert gaps.max() <= 180


def test_every_view_has_a_uniform_azimuth():
    g = generator(5)
    azimuth = torch.stack([CameraDistribution().draw(4, g).azimuth for _ in range(2000)])
    assert azimuth.min() >= 0
    assert azimuth.max() < 360
    for view in azimuth.unbind(1):
        # The first Fourier coefficients of 2000 uniform angles: standard error 1/sqrt(4000).
        angle = torch.deg2rad(view)
        assert abs(angle.cos().mean().item()) < 5 / math.sqrt(4000)
        assert abs(angle.sin().mean().item()) < 5 / math.sqrt(4000)


def test_draws_repeat():
    first = CameraDistribution().draw(3, generator(6))
    again = CameraDistribution().draw(3, generator(6))
    assert all(
        torch.equal(a, b) for a, b in zip(*(vars(x).values() for x in (first, again)), strict=True)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"elevation": (50.0, -10.0)}, "elevation must be a range"),
        ({"distance": (0.0, 1.0)}, "distance must be a range"),
        ({"fov": (10.0, 180.0)}, "fov must be a range"),
        ({"overhead_share": 1.5}, "overhead_share is a probability"),
    ],
)
def test_impossible_ranges_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        CameraDistribution(**given)


def test_no_cameras_are_refused():
    with pytest.raises(ValueError, match="at least 1 camera"):
        CameraDistribution().draw(0, generator())
    with pytest.raises(ValueError, match="at least 1 camera"):
        orbit(0)


def test_an_orbit_starts_in_front_and_is_even():
    cameras = orbit(8, elevation=20.0)
    torch.testing.assert_close(cameras.azimuth, torch.arange(8) * 45.0)
    assert len(cameras) == 8
    assert len(cameras[2:4]) == 2
    assert cameras.views == [
        *("front view", "side view", "side view", "side view"),
        *("back view", "side view", "side view", "side view"),
    ]


def test_the_view_follows_the_prompt():
    assert view_prompt("a red mushroom", "side view") == "a red mushroom, side view"
