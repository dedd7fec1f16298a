"""Render sizes apart from the prior's, and the published settings that fit a prior."""

from dataclasses import fields
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.loading import load_prior
from scorefield.priors.prior import ImagePrior
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.sds.distillation import DistillationSettings, ModuleDistillation, fitted
from scorefield.sds.image_distillation import ImageDistillation, ImageSettings
from scorefield.sds.nerf import presets as scenes
from scorefield.sds.nerf.hash_grid import HashGrid
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.texture import presets as paint
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.presets import Preset, PriorKind, kind_of, preset_for, settings_by
from scorefield.sds.settings import RenderedSettings
from scorefield.sds.svg import presets as drawings
from scorefield.sds.svg.settings import TextToSvgSettings

MADE: list[tuple[type[RenderedSettings], tuple[Preset, ...]]] = [
    (TextTo3DSettings, scenes.PRESETS),
    (TextureSettings, paint.PRESETS),
    (TextToSvgSettings, drawings.PRESETS),
]


@pytest.fixture(scope="module")
def shapes() -> ImagePrior:
    return load_prior("shapes")


def test_views_are_enlarged_to_the_priors_size(shapes: ImagePrior) -> None:
    """The gradient of a small view is that of the enlarged one, through the enlargement."""
    seen: list[Tensor] = []
    encode = shapes.encode
    small = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = fitted(small, shapes)
    assert images.shape == (2, 3, 64, 64)
    expected = F.interpolate(small, (64, 64), mode="bilinear", align_corners=False, antialias=True)
    assert torch.equal(images, expected)
    large = torch.rand(1, 3, 256, 512)
    assert fitted(large, shapes).shape == (1, 3, 64, 128)
    # a constant image stays what it is, and one of the prior's size is not touched
    torch.testing.assert_close(
        fitted(torch.full((1, 3, 20, 20), 0.3), shapes).std(), torch.tensor(0.0)
    )
    own = torch.rand(1, 3, 64, 64)
    assert fitted(own, shapes) is own

    class Canvas(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pixels = nn.Parameter(small[:1].clone())

        def forward(self, generator: torch.Generator) -> Tensor:
            return self.pixels

    def spy(images: Tensor) -> Tensor:
        seen.append(images)
        return encode(images)

    shapes.encode = spy  # type: ignore[method-assign]
    try:
        task = ModuleDistillation(shapes, DistillationSettings("a red mushroom", steps=1), Canvas())
        task.step(0)
    finally:
        shapes.encode = encode  # type: ignore[method-assign]
    assert seen[0].shape == (1, 3, 64, 64)
    assert task.module.pixels.grad is not None


def test_sizes_follow_one_another() -> None:
    settings = RenderedSettings("a", size=64, later_sizes=(256, 512))
    progress = [0.0, 0.33, 0.34, 0.66, 0.67, 1.0]
    assert [settings.size_at(p, 512) for p in progress] == [64, 64, 256, 256, 512, 512]
    settings = RenderedSettings("a", later_sizes=(512,), later_from=(0.2,))
    assert [settings.size_at(p, 128) for p in (0.0, 0.19, 0.2)] == [128, 128, 512]
    for bad in ((0.2,), (0.5, 0.2), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(ValueError, match="rising shares of the run"):
            RenderedSettings("a", later_sizes=(8, 16), later_from=bad)


def test_scenes_begin_at_half_the_size_of_the_embedded_prior(shapes: ImagePrior) -> None:
    settings = TextTo3DSettings("a red mushroom")
    sides = [settings.size_at(p, shapes.image_size) for p in (0.0, 0.66, 0.67, 1.0)]
    assert sides == [shapes.image_size // 2] * 2 + [shapes.image_size] * 2


def test_a_size_without_meaning_is_refused(shapes: ImagePrior) -> None:
    settings = TextTo3DSettings("a red mushroom", size=3)
    with pytest.raises(ValueError, match="size must be at least 4 pixels with a prior of 64"):
        TextTo3D(shapes, settings)
    RenderedSettings("a", size=64).check_sizes(512)  # threestudio's
    with pytest.raises(ValueError, match="at least 32 pixels with a prior of 512 pixels"):
        RenderedSettings("a", size=64, later_sizes=(16,)).check_sizes(512)
    with pytest.raises(ValueError, match="size needs pixels=True"):
        ImageSettings("a", size=32)


def test_pixels_begin_coarse(shapes: ImagePrior) -> None:
    """At a quarter of the size the gradient has no detail: its energy at high frequency is less."""
    detail = []
    for size in (16, 64):
        settings = ImageSettings("a red mushroom", images=1, steps=2, pixels=True, size=size)
        task = ImageDistillation(shapes, settings)
        task.step(0)
        gradient = task.values.grad
        assert gradient is not None
        power = torch.fft.fft2(gradient).abs().square()
        low = torch.zeros(64, dtype=torch.bool)
        low[:9] = low[-8:] = True
        inside = power[..., low, :][..., low].sum()
        detail.append(float(1 - inside / power.sum()))
    # above an eighth of the sampling rate the triangle of 8 pixels keeps at most sinc(1/2)^4 = 0.16
    # of the power, and of what is below it more
    assert detail[0] < 0.3 * detail[1]


@pytest.mark.parametrize(("kind", "presets"), MADE, ids=["scene", "paint", "drawing"])
def test_presets_are_settings(kind: type[RenderedSettings], presets: tuple[Preset, ...]) -> None:
    for preset in presets:
        assert preset.values.keys() <= {one.name for one in fields(kind)}
        kind("a cup", **preset.values)
        assert preset.source
    for prior_kind in get_args(PriorKind):
        names = [one.name for one in presets if prior_kind in one.kinds]
        assert names and len(set(names)) == len(names)


def test_the_embedded_preset_is_the_defaults(shapes: ImagePrior) -> None:
    assert kind_of(shapes) == "embedded"
    for settings, presets in MADE:
        preset = preset_for(shapes, presets)
        made = settings("a cup", **settings_by(preset, shapes, {}))
        assert made == settings("a cup", preset="embedded")
    with pytest.raises(ValueError, match=r"no preset 'dreamfusion' for shapes .*give embedded"):
        preset_for(shapes, scenes.PRESETS, "dreamfusion")


def test_weights_of_penalties_are_for_1024_latents(shapes: ImagePrior) -> None:
    """A prior of four times the latents weighs them four times as much, and shapes' own once."""
    penalties = []
    for side in (32, 64):
        codec = PixelCodec()
        prior = ImagePrior(StandardPrior(), codec, image_size=side)
        task = TextTo3D(prior, TextTo3DSettings("a", views=1, samples=8, size=16))
        penalties.append(float(task.step(0)["penalty"]))
    assert penalties[1] == pytest.approx(4 * penalties[0], rel=1e-5)


class StandardPrior:
    """Every prompt is N(0, 1)."""

    schedule = DiscreteSchedule.linear_beta()

    def condition(self, prompts: Any = None) -> StandardNormal:
        return StandardNormal(self.schedule)


def test_hash_fields_are_drawn_by_the_seed(shapes: ImagePrior) -> None:
    made = [
        TextTo3D(shapes, TextTo3DSettings("a red mushroom", field="hash", seed=seed)).scene.field
        for seed in (0, 0, 1)
    ]
    assert all(isinstance(field, HashGrid) for field in made)
    one, same, other = (field.entries for field in made)  # type: ignore[union-attr]
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_learned_sky_moves_at_a_tenth_of_the_rate(shapes: ImagePrior) -> None:
    settings = TextTo3DSettings("a red mushroom", background="sky", views=1, samples=8, steps=1)
    task = TextTo3D(shapes, settings)
    before = [p.detach().clone() for p in task.scene.background.parameters()]
    task.step(0)
    after = list(task.scene.background.parameters())
    moved = [float((p.detach() - b).abs().max()) for p, b in zip(after, before, strict=True)]
    # Adam's first step is the learning rate
    assert moved[0] == pytest.approx(0.1 * settings.learning_rate, rel=1e-3)
