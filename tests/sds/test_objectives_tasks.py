"""Objectives at work: images, edits, phi, and the choice of one in text-to-3D."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from scorefield.cameras import Cameras
from scorefield.cli.distillation.distilling import levels_named
from scorefield.priors import (
    DiscreteSchedule,
    FrozenPrior,
    GaussianMixturePrior,
    ImagePrior,
    PixelCodec,
    load_prior,
)
from scorefield.runs import RunFolder, optimise
from scorefield.sds import LevelRange, RadianceField, TextTo3D, TextTo3DSettings
from scorefield.sds.image_distillation import (
    ImageDistillation,
    ImageEdit,
    ImageSettings,
    edit_image,
)
from scorefield.sds.levels import DreamTime
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.view_negatives import view_negatives
from scorefield.sds.objective import SDS, Objective, PromptedDenoisers, distill
from scorefield.sds.objectives import (
    CSD,
    DDS,
    NFSD,
    PDS,
    VSD,
    Bridge,
    LowRank,
    SmallNetwork,
    make_particle_score,
)
from scorefield.sds.presets import ObjectiveName, objective_named

SIZE = 4
MEANS = {"dark": -0.6, "light": 0.5}
PHI = SmallNetwork(width=8, learning_rate=0.01)


@pytest.fixture(scope="module")
def prior() -> ImagePrior:
    """Dark and light grey images of 4x4, each a Gaussian of width 0.3 in [-1, 1]."""
    means = torch.stack([torch.full((3, SIZE, SIZE), m) for m in MEANS.values()])
    mixture = GaussianMixturePrior(means, torch.full((2,), 0.3), None, list(MEANS))
    return ImagePrior(mixture, PixelCodec(), image_size=SIZE, name="greys")


def run(prior: ImagePrior, **settings: object) -> ImageDistillation:
    chosen = {"prompt": "light", "images": 2, "steps": 60, "scale": 1.0} | settings
    task = ImageDistillation(prior, ImageSettings(**chosen))  # type: ignore[arg-type]
    for step in range(task.settings.steps):
        task.step(step)
    return task


@pytest.mark.parametrize("pixels", [False, True])
def test_sds_makes_the_mode(prior: ImagePrior, pixels: bool) -> None:
    """The mean of the Gaussian, 0.75 in [0, 1], to the noise that a step of Adam leaves."""
    images = run(prior, pixels=pixels, steps=150, learning_rate=0.03).images()
    assert abs(images.mean().item() - 0.75) < 0.03
    assert (images - 0.75).abs().max() < 0.15


def test_the_image_loss_of_identical_codecs_is_more_of_sds(prior: ImagePrior) -> None:
    """Pixels y = (x + 1) / 2: SDS's gradient on y is 2 w (alpha / sigma) (x - x0), the image loss's
    w (alpha / sigma) (y - y0) = w (alpha / sigma) (x - x0) / 2, so weight 4 doubles it."""
    grads = []
    for image in (0.0, 4.0):
        settings = ImageSettings(
            "light",
            images=2,
            scale=1.0,
            pixels=True,
            image=image,
            levels=LevelRange(0.6, 0.98),  # where x0 stays within [0, 1], to which it is clamped
        )
        task = ImageDistillation(prior, settings)
        task.step(0)
        assert task.values.grad is not None
        grads.append(task.values.grad)
    torch.testing.assert_close(grads[1], 2 * grads[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", [SDS(), CSD(), NFSD()])
def test_images_do_not_depend_on_their_number(prior: ImagePrior, objective: Objective) -> None:
    many = run(prior, images=3, steps=5, objective=objective).images()
    few = run(prior, images=1, steps=5, objective=objective).images()
    torch.testing.assert_close(few[0], many[0])
    assert not torch.allclose(many[0], many[1])


def test_vsd_resumes_bit_for_bit(prior: ImagePrior, tmp_path: Path) -> None:
    """Images, Adam, phi and phi's Adam: all are in the checkpoint."""

    def go(folder: str, steps: int, resume: bool = False) -> ImageDistillation:
        settings = ImageSettings("light", images=2, steps=8, scale=1.0, objective=VSD(PHI))
        task = ImageDistillation(prior, settings)
        optimise(
            task,
            steps=steps,
            folder=RunFolder.create(tmp_path / folder, task.config(), resume=resume),
            preview_every=0,
            checkpoint_every=4,
            progress=False,
            resume=resume,
        )
        return task

    whole = go("whole", 8)
    go("parts", 4)
    parts = go("parts", 8, resume=True)
    assert torch.equal(whole.values, parts.values)
    assert whole.phi is not None and parts.phi is not None
    for name, value in whole.phi.parameters.items():
        assert torch.equal(value, parts.phi.parameters[name]), name
    rows = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert rows[0] == rows[1] and b"phi_loss" in rows[0]


def test_vsd_keeps_the_width_that_sds_loses() -> None:
    """200 points and N(0.7, 0.5^2) in the plane: SDS gathers them, VSD spreads them as the prior.

    The width is good to a quarter: phi is a small network that lags behind.
    """
    schedule = DiscreteSchedule.scaled_linear()
    mixture = GaussianMixturePrior(torch.full((1, 2), 0.7), torch.tensor([0.5]), schedule=schedule)

    def spread(objective: Objective, steps: int) -> float:
        generator = torch.Generator().manual_seed(0)
        phi = None
        if isinstance(objective, VSD):
            assert isinstance(objective.phi, SmallNetwork)
            phi = objective.phi.build_for(schedule, (2,))
        x = torch.randn(200, 2, generator=generator, requires_grad=False) * 0.2
        x.requires_grad_()
        optimizer = torch.optim.Adam([x], lr=0.02, betas=(0.5, 0.9))
        for _ in range(steps):
            level = LevelRange(0.02, 0.7).draw(schedule, 0.0, len(x), generator)
            eps = torch.randn(x.shape, generator=generator)
            fields = PromptedDenoisers(mixture, phi=phi.condition(None) if phi else None)
            optimizer.zero_grad()
            (distill(fields, x, level, eps, objective=objective).loss * len(x)).backward()
            optimizer.step()
            if phi:
                phi.learn(x, None, generator)
        return float(x.detach().std(0).mean())

    assert spread(SDS(), 200) < 0.15
    vsd = VSD(SmallNetwork(width=32, learning_rate=3e-3, updates=2))
    assert spread(vsd, 200) == pytest.approx(0.5, rel=0.25)


@pytest.fixture(scope="module")
def shapes() -> FrozenPrior:
    return load_prior("shapes")


def test_a_low_rank_phi_starts_as_the_prior_and_leaves_it_alone(shapes: FrozenPrior) -> None:
    before = {name: value.clone() for name, value in shapes.network.state_dict().items()}
    phi = LowRank(rank=2, learning_rate=1e-2).build(shapes)
    z = torch.randn(2, *shapes.latent_shape, generator=torch.Generator().manual_seed(0))
    level = shapes.schedule.at_fraction(0.5)
    plain, field = shapes.condition("a red chair"), phi.condition("a red chair")
    with torch.no_grad():
        torch.testing.assert_close(field(z, level).eps, plain(z, level).eps)
    state = phi.state()
    generator = torch.Generator().manual_seed(1)
    losses = [phi.learn(z, "a red chair", generator) for _ in range(3)]
    assert all(loss > 0 for loss in losses)
    with torch.no_grad():
        assert (field(z, level).eps - plain(z, level).eps).abs().max() > 1e-3
    after = shapes.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(value.requires_grad for value in shapes.network.parameters())
    phi.load_state(state)
    with torch.no_grad():
        torch.testing.assert_close(field(z, level).eps, plain(z, level).eps)


def test_a_low_rank_phi_learns_in_float16_what_it_learns_in_float32() -> None:
    """The gradient of a mean over 4096 numbers is in part below what float16 holds."""
    found = {}
    for dtype in (torch.float32, torch.float16):
        phi = LowRank(rank=2).build(load_prior("shapes", dtype=dtype))
        z = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
        phi.learn(z, "a red chair", torch.Generator().manual_seed(1))
        gradients = [value.grad for n, value in phi.parameters.items() if "lora_B" in n]
        found[dtype] = torch.cat([one.flatten() for one in gradients if one is not None])
        again = LowRank(rank=2).build(load_prior("shapes", dtype=dtype))
        again.load_state(phi.state())
    exact, rounded = found[torch.float32], found[torch.float16]
    assert float((rounded - exact).norm() / exact.norm()) < 0.02


def test_vsd_of_a_new_low_rank_phi_is_a_multiple_of_csd(shapes: FrozenPrior) -> None:
    """phi is the unguided prior, so e_guided - e_phi = (scale - 1) (e_cond - e_uncond)."""
    prompt = "a red chair"
    phi = LowRank().build(shapes)
    denoisers = PromptedDenoisers.of(shapes, prompt, 7.5, phi=phi.condition(prompt))
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 1, *shapes.latent_shape, generator=generator)
    level = shapes.schedule.at_fraction(torch.tensor([0.5]))
    vsd, csd = (distill(denoisers, x, level, eps, objective=o).gradient for o in (VSD(), CSD()))
    torch.testing.assert_close(vsd, 6.5 * csd, rtol=1e-3, atol=1e-4)


def test_two_low_rank_phis_of_one_seed_are_the_same(shapes: FrozenPrior) -> None:
    first, second, other = (LowRank().build(shapes, seed) for seed in (0, 0, 1))
    same = [torch.equal(first.parameters[n], second.parameters[n]) for n in first.parameters]
    unlike = [torch.equal(first.parameters[n], other.parameters[n]) for n in first.parameters]
    assert all(same) and not all(unlike)


def test_a_low_rank_phi_needs_a_network(prior: ImagePrior) -> None:
    with pytest.raises(ValueError, match="SmallNetwork"):
        LowRank().build(prior)
    assert make_particle_score(SDS(), prior) is None


# Edits


def edited(prior: ImagePrior, objective: Objective, rate: float, images: Tensor) -> Tensor:
    return edit_image(
        prior,
        images,
        "dark",
        "light",
        objective=objective,
        steps=60,
        learning_rate=rate,
        scale=1.0,
        levels=LevelRange(0.05, 0.6),
    )


def test_dds_moves_a_image_by_the_difference_of_the_means(prior: ImagePrior) -> None:
    """x = reference + m_light - m_dark exactly: 0.55 in [0, 1], whatever the image."""
    images = 0.2 + 0.1 * torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    out = edited(prior, DDS(), 0.3, images)
    torch.testing.assert_close(out, images + 0.55, rtol=0, atol=2e-3)
    alone = edited(prior, DDS(), 0.3, images[:1])
    torch.testing.assert_close(alone[0], out[0])


def test_pds_moves_it_less(prior: ImagePrior) -> None:
    """Held by psi, and the further the larger the stride."""
    images = torch.full((1, 3, SIZE, SIZE), 0.2)
    one, two = (
        (edited(prior, PDS(stride=stride), 0.3, images) - images).mean().item()
        for stride in (1.5, 3.0)
    )
    assert 0.02 < two < one < 0.5


def test_an_edit_checks_its_images(prior: ImagePrior) -> None:
    with pytest.raises(ValueError, match="images"):
        ImageEdit(prior, ImageSettings("light", images=2), torch.zeros(1, 3, SIZE, SIZE), "dark")
    with pytest.raises(ValueError, match=r"nearest|label"):
        edit_image(prior, torch.zeros(1, 3, SIZE, SIZE), "a green cup", "light")


def test_the_embedded_prior_repaints_a_chair(shapes: FrozenPrior) -> None:
    """A few steps of DDS: the chair's red falls and its blue rises, the corners stay."""
    image = shapes.generate("a red chair, front view", seed=3, steps=8)
    source, target = "a red chair, front view", "a blue chair, front view"
    out = edit_image(shapes, image, source, target, steps=10, learning_rate=0.2)
    change = (out - image)[0]
    where = (image[0, 0] - image[0, 2]) > 0.3
    assert where.float().mean() > 0.03
    assert change[0][where].mean() < -0.05 and change[2][where].mean() > 0.05
    assert change[:, :8, :8].abs().mean() < 0.5 * change[:, where].abs().mean()


# Text-to-3D


def scene_task(prior: ImagePrior, **settings: object) -> TextTo3D:
    chosen = {"scale": 1.0, "steps": 6, "samples": 8, "views": 2} | settings
    return TextTo3D(
        prior,  # type: ignore[arg-type]
        TextTo3DSettings("light", **chosen),
        RadianceField(VoxelGrid(resolution=8, levels=1), cells=8),
    )


@pytest.fixture(scope="module")
def views() -> ImagePrior:
    """The greys again, with the captions of views."""
    sides = ("front view", "side view", "back view", "overhead view")
    names = [f"{name}, {side}" for name in MEANS for side in sides]
    means = torch.stack([torch.full((3, 8, 8), m) for m in MEANS.values() for _ in sides])
    means = means + 0.05 * torch.arange(8).float().view(8, 1, 1, 1)

    class Greys(GaussianMixturePrior):
        def condition(self, labels=None):  # type: ignore[no-untyped-def]
            known = [labels] if isinstance(labels, str) else labels
            if known is not None:
                known = [f"{n}, front view" if n in MEANS else n for n in known]
            return super().condition(known)

    mixture = Greys(means, torch.full((8,), 0.3), None, names)
    return ImagePrior(mixture, PixelCodec(), image_size=8, name="greys")


def test_a_scene_with_vsd_resumes_bit_for_bit(views: ImagePrior) -> None:
    whole = scene_task(views, objective=VSD(PHI))
    rows = [whole.step(k) for k in range(4)]
    first = scene_task(views, objective=VSD(PHI))
    assert [first.step(k) for k in range(2)] == rows[:2]
    state = first.state()
    second = scene_task(views, objective=VSD(PHI))
    second.load_state(state)
    assert [second.step(k) for k in range(2, 4)] == rows[2:]
    assert "phi_loss" in rows[0]


def test_objectives_make_different_scenes_and_configs(views: ImagePrior) -> None:
    plain, other = scene_task(views), scene_task(views, objective=NFSD(2.0))
    assert plain.step(0)["gradient"] != other.step(0)["gradient"]
    assert other.config()["objective"] == {
        "name": "NFSD",
        "scale": 2.0,
        "threshold": 0.2,
        "weight": "sigma_squared",
    }


def test_image_loss_and_view_negatives_take_part(views: ImagePrior) -> None:
    def scene(**settings: object) -> Tensor:
        task = scene_task(views, views=4, scale=2.0, **settings)
        task.step(0)
        return torch.cat([value.detach().flatten() for value in task.scene.parameters()])

    plain = scene()
    assert torch.equal(plain, scene())
    assert not torch.equal(plain, scene(image=1.0))
    assert not torch.equal(plain, scene(perp_neg=1.0))


def test_what_an_objective_lacks_is_refused_before_the_first_step(views: ImagePrior) -> None:
    with pytest.raises(ValueError, match="negative prompt"):
        scene_task(views, objective=Bridge())
    with pytest.raises(ValueError, match="source prompt"):
        scene_task(views, objective=DDS())
    scene_task(views, objective=Bridge(), negative="dark")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": -1.0}, "image"),
        ({"perp_neg": -1.0}, "perp_neg"),
        ({"perp_neg": 1.0, "negative": "dark"}, "one of them"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextTo3DSettings("light", **change)  # type: ignore[arg-type]


def test_view_negatives_follow_the_azimuth() -> None:
    """0 at the front, 4 - 2.426 of the front from the side on, 1 - 0.606 of the side behind."""
    azimuths, elevations = [0.0, 90.0, 270.0, 180.0, 0.0], [0.0, 0.0, 0.0, 0.0, 85.0]
    names, weights = view_negatives(Cameras.at(azimuths, elevations))
    assert names == ("front view", "side view")
    front = torch.tensor([0.0, 1.574, 1.574, 1.574, 0.0])
    side = torch.tensor([0.0, 0.0, 0.0, 0.394, 0.0])
    torch.testing.assert_close(weights, torch.stack([front, side]), rtol=0, atol=1e-3)
    _, fine = view_negatives(Cameras.at([float(a) for a in range(181)]))
    assert (fine.diff(dim=1) >= 0).all() and fine.diff(dim=1).max() < 0.05


# The command line's names


def test_every_name_is_an_objective_of_its_own() -> None:
    made = [objective_named(name, 5.0) for name in get_args(ObjectiveName)]
    assert len({type(one) for one in made}) == len(made)
    assert all(isinstance(one, Objective) for one in made)


def test_names_of_schedules() -> None:
    given = LevelRange(0.1, 0.9)
    assert levels_named("range", given) is given
    assert levels_named("dreamtime", given) == DreamTime(0.1, 0.9)
    with pytest.raises(ValueError, match="dreamtime"):
        levels_named("dreamtime", LevelRange(0.1, 0.7))


@pytest.mark.parametrize(
    "change",
    [
        {"images": 0},
        {"steps": 0},
        {"image": -1.0},
        {"image": 1.0},
        {"start": -1.0},
        {"clip": -1.0},
        {"learning_rate": 0.0},
    ],
)
def test_impossible_image_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ImageSettings("light", **change)  # type: ignore[arg-type]
