import itertools
import math

import pytest
import torch

import scorefield.sds.nerf.hash_grid as hash_grid
from scorefield.sds.nerf.fields import TriPlane, VoxelGrid
from scorefield.sds.nerf.hash_grid import HashGrid, _interpolate, _Outputs


def small_hash(**given):
    return HashGrid(3, 2, 8, 32, 2**10, **given)


FIELDS = {
    "voxels": VoxelGrid,
    "planes": lambda: TriPlane(generator=torch.Generator().manual_seed(0)),
    "hash": lambda: small_hash(generator=torch.Generator().manual_seed(0)),
}


@pytest.fixture(params=FIELDS, ids=str)
def field(request):
    return FIELDS[request.param]()


def points(n=500, radius=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    p = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=-1)
    return radius * p * torch.rand(n, 1, generator=g) ** (1 / 3)


def test_the_field_starts_as_a_soft_grey_ball(field):
    p = points(radius=0.999)
    density, albedo = field(p)
    assert density.shape == (500,)
    assert albedo.shape == (500, 3)
    blob = torch.nn.functional.softplus(10 * (1 - p.norm(dim=-1) / 0.5))
    # The networks start with small random outputs; the voxels with none.
    assert (density - blob).abs().max() < 1
    assert (albedo - 0.5).abs().max() < 0.2
    assert field.density(torch.zeros(1, 3)) > 9


def test_voxels_start_exactly_as_the_blob():
    p = points(radius=0.999)
    density, albedo = VoxelGrid()(p)
    blob = torch.nn.functional.softplus(10 * (1 - p.norm(dim=-1) / 0.5))
    torch.testing.assert_close(density, blob)
    assert (albedo == 0.5).all()
    # Opaque through the middle (the chord integral is about 5), clear at the border.
    assert VoxelGrid().density(torch.tensor([[0.0, 0.0, 0.99]])) < 1e-3


def test_nothing_is_outside_the_unit_sphere(field):
    outside = torch.tensor([[0.9, 0.9, 0.0], [0.0, 0.0, 1.001], [-0.6, 0.6, -0.6]])
    assert (field.density(outside) == 0).all()
    assert (field(outside)[0] == 0).all()


def test_the_density_alone_is_the_density(field):
    p = points()
    torch.testing.assert_close(field.density(p), field(p)[0])


def test_no_points_are_fine(field):
    density, albedo = field(torch.zeros(0, 3))
    assert density.shape == (0,)
    assert albedo.shape == (0, 3)


def test_gradients_match_finite_differences(field):
    field = field.double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=g).to(parameter)
    p = points(40, 0.9).double()
    along = [torch.randn(x.shape, generator=g).to(x) for x in field.parameters()]

    def value():
        density, albedo = field(p)
        return density.sum() + (albedo * torch.arange(1.0, 4.0)).sum()

    value().backward()
    slope = sum((x.grad * d).sum() for x, d in zip(field.parameters(), along, strict=True))
    h, sides = 1e-7, []  # small: the networks have kinks
    for sign in (1, -2):
        with torch.no_grad():
            for x, d in zip(field.parameters(), along, strict=True):
                x += sign * h * d
            sides.append(value())
    torch.testing.assert_close((sides[0] - sides[1]) / (2 * h), slope, rtol=1e-5, atol=1e-6)


def test_the_pyramid_is_the_sum_of_its_levels():
    field = VoxelGrid(resolution=16, levels=3)
    with torch.no_grad():
        for i, level in enumerate(field.levels):
            level.fill_(i + 1.0)
    torch.testing.assert_close(field.grid(), torch.full((4, 16, 16, 16), 6.0))
    assert field.total_variation().item() == pytest.approx(0, abs=1e-10)
    out = field.outputs(torch.zeros(1, 3), 4)
    torch.testing.assert_close(out, 6.0 * torch.tensor([[15.0, 3.0, 3.0, 3.0]]))


def test_voxels_are_read_trilinearly_along_their_axes():
    field = VoxelGrid(resolution=9, levels=1, gain=(1.0, 1.0))
    axis = torch.linspace(-1, 1, 9)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    with torch.no_grad():
        field.levels[0].copy_(torch.stack([x, y, z, x + 2 * y + 3 * z]))
    p = points()
    expected = torch.cat([p, p @ torch.tensor([[1.0], [2.0], [3.0]])], dim=-1)
    torch.testing.assert_close(field.outputs(p, 4), expected, atol=1e-5, rtol=0)


def test_total_variation_of_a_ramp():
    field = VoxelGrid(resolution=8, levels=1)
    with torch.no_grad():
        field.levels[0].copy_(torch.arange(8.0).expand(4, 8, 8, 8))
    assert field.total_variation().item() == pytest.approx(1.0)


def test_hashed_features_are_the_papers():
    """The sum over the eight corners of a cell, by each level's table (Instant-NGP, eq. 4)."""
    field = small_hash(generator=torch.Generator().manual_seed(0)).double()
    p = points(1500).double()
    found = _interpolate(p, field.cells, field.primes, False, field.entries.T)[0].T
    for level, size in enumerate([8, 16, 32]):
        table = field.entries[level * 2**10 : (level + 1) * 2**10]
        scaled = (p + 1) / 2 * size
        expected = torch.zeros(1500, 2, dtype=torch.float64)
        for corner in itertools.product((0, 1), repeat=3):
            at = scaled.floor().long() + torch.tensor(corner)
            index = (at[:, 0] ^ (at[:, 1] * 2654435761) ^ (at[:, 2] * 805459861)) % 2**10
            expected += (1 - (scaled - at).abs()).prod(dim=1)[:, None] * table[index]
        torch.testing.assert_close(found[:, 2 * level : 2 * level + 2], expected)


def test_a_hash_grid_finds_its_points_a_few_at_a_time(monkeypatch):
    field = small_hash(generator=torch.Generator().manual_seed(0))
    p = points()
    together = (*field(p), field.gradient(p))
    monkeypatch.setattr(hash_grid, "_at_once", lambda cells: 64)
    torch.testing.assert_close((*field(p), field.gradient(p)), together)


@pytest.mark.parametrize(("channels", "slopes"), [(1, False), (4, False), (1, True), (4, True)])
def test_the_gradient_of_a_hash_grid_by_hand_is_the_differential(monkeypatch, channels, slopes):
    monkeypatch.setattr(hash_grid, "_at_once", lambda cells: 8)  # three parts
    field = small_hash(hidden=5, generator=torch.Generator().manual_seed(0)).double()
    p = points(20).double()
    first, _, last = field.decoder
    parameters = [first.weight, first.bias + 0.1, last.weight[:channels], last.bias[:channels]]
    torch.autograd.gradcheck(
        lambda *all: _Outputs.apply(p, None, field.cells, field.primes, slopes, *all),
        # three tables of 8 entries
        [x.detach().clone().requires_grad_() for x in (field.entries[:24], *parameters)],
        fast_mode=True,
    )


def test_slopes_of_a_hash_grid_are_those_of_its_density():
    field = small_hash(generator=torch.Generator().manual_seed(0)).double()
    p = points(200, 0.9).double()
    at = p.clone().requires_grad_()
    (exact,) = torch.autograd.grad(field.density(at).sum(), at)
    torch.testing.assert_close(field.gradient(p), exact)
    h = 1e-7  # within a cell
    steps = h * torch.eye(3, dtype=torch.float64)
    ahead, behind = (torch.stack([field.density(p + s * x) for x in steps], 1) for s in (1, -1))
    torch.testing.assert_close(field.gradient(p), (ahead - behind) / (2 * h), rtol=1e-5, atol=1e-5)


def test_the_slope_of_a_hash_grid_is_differentiable_in_all_parameters():
    field = small_hash(generator=torch.Generator().manual_seed(0)).double()
    p = points(50, 0.9).double()
    g = torch.Generator().manual_seed(2)
    into = torch.randn(50, 3, generator=g).double()
    field.gradient(p).mul(into).sum().backward()
    along = [torch.randn(x.shape, generator=g).to(x) for x in field.parameters()]
    slope = sum((x.grad * d).sum() for x, d in zip(field.parameters(), along, strict=True))
    sides = []
    for sign in (1, -2):
        with torch.no_grad():
            for x, d in zip(field.parameters(), along, strict=True):
                x += sign * 1e-7 * d
            sides.append(field.gradient(p).mul(into).sum())
    torch.testing.assert_close((sides[0] - sides[1]) / 2e-7, slope, rtol=1e-5, atol=1e-6)


def test_what_a_look_has_found_is_not_looked_up_again(monkeypatch):
    """Of some of its points: the values and all gradients are those of a look of their own."""
    field = small_hash(generator=torch.Generator().manual_seed(0)).double()
    p, some = points(300, 0.9).double(), torch.arange(0, 300, 7)
    density, seen = field.look(p)
    torch.testing.assert_close(density, field.density(p))
    found = []
    for given in ((), (seen[:, some],)):
        found.append(field(p[some], *given))
        total = sum((x * torch.arange(1.0, x.numel() + 1).view_as(x)).sum() for x in found[-1])
        found.append(torch.autograd.grad(total, list(field.parameters())))
        monkeypatch.setattr(hash_grid, "_interpolate", None)
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[3])


def test_one_generator_one_field():
    for make in (TriPlane, small_hash):
        a, b = (make(generator=torch.Generator().manual_seed(3)) for _ in range(2))
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="cannot be halved"):
        VoxelGrid(resolution=8, levels=4)
    with pytest.raises(ValueError, match="power of two"):
        HashGrid(table=1000)


def test_the_blob_can_be_shaped():
    field = VoxelGrid(blob_density=4.0, blob_radius=0.25)
    at = torch.tensor([[0.0, 0.25, 0.0]])
    assert field.density(at).item() == pytest.approx(math.log(2), rel=1e-5)
