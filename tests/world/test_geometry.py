"""Ray casting against brute force: dense sampling along each ray of a test of being inside."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scorefield.world.geometry import Kind, PackedParts, Part, cast, rotation

GREY = np.full(3, 0.5)
KINDS = st.sampled_from(list(Kind))
TAPERS = st.floats(0, 1.5)
SEEDS = st.integers(0, 2**32 - 1)
RAYS = 48

# Along a ray of unit length from a distance of 3.
STEP = 1 / 1024


def height(part: Part, points: Tensor) -> Tensor:
    """Above 0 outside the part, 0 on its surface, below 0 inside; points (..., 3), float64."""
    inverse = torch.as_tensor(np.linalg.inv(part.linear))
    p = (points - torch.as_tensor(part.centre)) @ inverse.T
    if part.kind == Kind.SPHERE:
        return p.norm(dim=-1) - 1
    if part.kind == Kind.BOX:
        return p.abs().amax(-1) - 1
    x, y, z = p.unbind(-1)
    side = torch.hypot(x, y) - ((1 + part.taper) / 2 + (part.taper - 1) / 2 * z)
    return torch.maximum(side, z.abs() - 1)


def random_part(rng: np.random.Generator, kind: Kind, taper: float) -> Part:
    """Any size from 0.1 to 0.7 on each axis, sheared and turned at random."""
    turn = rotation(0, rng.uniform(0, 360)) @ rotation(1, rng.uniform(0, 360))
    turn = turn @ rotation(2, rng.uniform(0, 360))
    shear = np.eye(3)
    shear[0, 2], shear[1, 0] = rng.uniform(-0.7, 0.7, 2)
    linear = turn @ shear @ np.diag(rng.uniform(0.1, 0.7, 3))
    return Part("part", kind, rng.uniform(-0.3, 0.3, 3), linear, GREY, taper)


def random_rays(rng: np.random.Generator, parts: list[Part]) -> tuple[Tensor, Tensor]:
    """An origin at a distance of 3, and unit directions near the parts, in float32."""
    origin = rng.normal(size=3)
    origin *= 3 / np.linalg.norm(origin)
    aims = np.stack([parts[k].centre for k in rng.integers(len(parts), size=RAYS)])
    directions = aims + rng.normal(0, 0.25, (RAYS, 3)) - origin
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return torch.tensor(origin, dtype=torch.float32), torch.tensor(directions, dtype=torch.float32)


def march(parts: list[Part], origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Whether (parts, rays, steps) is inside a part, and the depth of each step."""
    t = torch.arange(1, 5, STEP, dtype=torch.float64)
    points = origin.double() + t[:, None] * directions.double()[:, None]
    return torch.stack([height(part, points) < 0 for part in parts]), t


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=SEEDS, kind=KINDS, taper=TAPERS)
def test_one_part(seed: int, kind: Kind, taper: float) -> None:
    rng = np.random.default_rng(seed)
    part = random_part(rng, kind, taper)
    origin, directions = random_rays(rng, [part])
    hits = cast(PackedParts.pack([[part]]), origin[None], directions[None])
    depth = hits.depth[0].double()
    inside, t = march([part], origin, directions)
    steps_inside = inside[0].sum(1)
    # A ray that grazes within a step or the rounding of float32 may go either way.
    assert bool(depth[steps_inside > 3].isfinite().all())
    found = depth.isfinite()
    assert torch.equal(hits.part[0], torch.where(found, 0, -1))

    on_surface = origin.double() + depth[found, None] * directions[found].double()
    assert bool((height(part, on_surface).abs() < 3e-3).all())
    both = found & (steps_inside > 3)
    first = t[inside[0].double().argmax(1)]
    assert bool((depth[both] <= first[both] + 1e-3).all())
    assert bool((depth[both] >= first[both] - STEP - 1e-3).all())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS, kind=KINDS, taper=TAPERS)
def test_normals_are_the_gradient_of_the_surface(seed: int, kind: Kind, taper: float) -> None:
    rng = np.random.default_rng(seed)
    part = random_part(rng, kind, taper)
    origin, directions = random_rays(rng, [part])
    hits = cast(PackedParts.pack([[part]]), origin[None], directions[None])
    found = hits.part[0] >= 0
    assert bool((hits.normal[0, ~found] == 0).all())
    normal = hits.normal[0, found].double()
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(len(normal)).double())
    # visible surfaces face the ray; a grazing one may be off by rounding
    assert bool(((normal * directions[found].double()).sum(1) < 2e-3).all())

    p = origin.double() + hits.depth[0, found, None].double() * directions[found].double()
    h = 1e-5
    units = torch.eye(3, dtype=torch.float64)
    slope = torch.stack(
        [(height(part, p + h * e) - height(part, p - h * e)) / (2 * h) for e in units], 1
    )
    agreement = torch.nn.functional.cosine_similarity(slope, normal)
    # at an edge the surface has two normals: leave out where it bends within 0.01
    around = [height(part, p + s * 0.01 * e) for e in units for s in (1, -1)]
    bend = sum(around[2 * k] + around[2 * k + 1] for k in range(3)) / 0.01
    smooth = bend.abs() < 0.5 if kind == Kind.SPHERE else bend.abs() < 0.1
    assert bool((agreement[smooth] > 0.999).all())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS, counts=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_batches_of_objects(seed: int, counts: list[int]) -> None:
    """Each ray meets the nearest part of its own object, and of no other."""
    rng = np.random.default_rng(seed)
    objects = [
        [random_part(rng, Kind(rng.integers(3)), rng.uniform(0, 1.3)) for _ in range(count)]
        for count in counts
    ]
    rays = [random_rays(rng, parts) for parts in objects]
    origins, directions = (torch.stack(parts) for parts in zip(*rays, strict=True))
    together = cast(PackedParts.pack(objects), origins, directions)
    first = 0
    for i, parts in enumerate(objects):
        each = [cast(PackedParts.pack([[p]]), origins[[i]], directions[[i]]) for p in parts]
        depths = torch.cat([hits.depth for hits in each])
        nearest, which = depths.min(0)
        torch.testing.assert_close(together.depth[i], nearest)
        expected = torch.where(nearest.isfinite(), which + first, -1)
        # two surfaces that cross on a ray are equally near
        tie = (depths - nearest).abs().lt(1e-5).sum(0) > 1
        assert torch.equal(together.part[i][~tie], expected[~tie])
        first += len(parts)


AXES = torch.tensor([[-1.0, 0, 0], [0, -1, 0], [0, 0, -1]])


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("kind", Kind)
def test_rays_parallel_to_faces(kind: Kind, axis: int) -> None:
    """A component of exactly zero divides by zero, but is a ray like any other."""
    part = Part("part", kind, np.zeros(3), np.eye(3), GREY, 1.0)
    aside = torch.eye(3)[(axis + 1) % 3]
    packed = PackedParts.pack([[part]] * 3)
    origins = torch.stack([-3 * AXES[axis] + shift * aside for shift in (0.0, 0.5, 1.5)])
    hits = cast(packed, origins, AXES[axis].expand(3, 1, 3))
    height_at_half = {Kind.SPHERE: 0.75**0.5, Kind.BOX: 1.0}
    # the cone of taper 1 is a cylinder along z: round in x and y
    round_here = {0: 0.75**0.5, 1: 1.0, 2: 1.0}
    expected = height_at_half.get(kind, round_here[axis])
    torch.testing.assert_close(hits.depth[:, 0], torch.tensor([2.0, 3 - expected, torch.inf]))
    torch.testing.assert_close(hits.normal[0, 0], -AXES[axis])


@pytest.mark.parametrize("kind", Kind)
def test_parts_behind_the_origin_are_not_met(kind: Kind) -> None:
    part = Part("part", kind, np.array([-3.0, 0, 0]), 0.5 * np.eye(3), GREY, 0.7)
    away = torch.tensor([[[1.0, 0.02, 0.03]]])
    hits = cast(PackedParts.pack([[part]]), torch.zeros(1, 3), away)
    assert torch.isinf(hits.depth).all()
    towards = cast(PackedParts.pack([[part]]), torch.zeros(1, 3), -away)
    assert 2.4 < float(towards.depth) < 2.7


def test_depth_is_in_multiples_of_the_direction() -> None:
    part = Part("ball", Kind.SPHERE, np.zeros(3), np.eye(3), GREY)
    direction = torch.tensor([[[0.0, 0, -1], [0, 0, -2], [0, 0, -0.5]]])
    hits = cast(PackedParts.pack([[part]]), torch.tensor([[0.0, 0, 3]]), direction)
    torch.testing.assert_close(hits.depth, torch.tensor([[2.0, 1.0, 4.0]]))


@pytest.mark.parametrize("axis", range(3))
def test_rotations_are_right_handed(axis: int) -> None:
    e = np.eye(3)
    turn = rotation(axis, 90)
    np.testing.assert_allclose(turn @ e[axis], e[axis], atol=1e-15)
    np.testing.assert_allclose(turn @ e[(axis + 1) % 3], e[(axis + 2) % 3], atol=1e-15)
    np.testing.assert_allclose(rotation(axis, 30) @ rotation(axis, 60), turn, atol=1e-15)


def test_moved_shifts_then_scales() -> None:
    part = Part("part", Kind.BOX, np.array([1.0, 2, 3]), np.diag([1.0, 2, 3]), GREY, 0.3)
    moved = part.moved(2.0, np.array([0.5, 0, -1]))
    local = np.array([0.2, -0.4, 0.9])
    world = part.centre + part.linear @ local
    expected = 2 * (world + np.array([0.5, 0, -1]))
    np.testing.assert_allclose(moved.centre + moved.linear @ local, expected)
    assert (moved.name, moved.kind, moved.taper) == ("part", Kind.BOX, 0.3)
