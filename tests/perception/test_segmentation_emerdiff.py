"""EmerDiff: attention injected for real, modulation, batches, memory, presets of every family."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import tiny_models
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scorefield.perception.segmentation.attention_hooks import (
    cross_attention_paths,
    injected,
    modulated,
    projection_paths,
    recorded,
)
from scorefield.perception.segmentation.clustering import (
    NormalisedCut,
    bilinear_masks,
    resized_argmax,
)
from scorefield.perception.segmentation.emerdiff import (
    EmerDiff,
    difference_maps,
    modulated_trajectory,
    record_trajectory,
)
from scorefield.perception.segmentation.memory import record_memory, rows_that_fit
from scorefield.perception.segmentation.metrics import boundary_f
from scorefield.perception.segmentation.presets import clusters_preset, emerdiff_preset
from scorefield.perception.segmentation.segment import cell_labels, check_method, segment
from scorefield.priors.editing import edit_friendly_invert
from scorefield.priors.families import from_pipeline
from scorefield.priors.features.memory import memory_estimate
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import _quiet, load_prior
from scorefield.world import draw_scene, render


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> FrozenPrior:
    with _quiet():
        return load_prior(tiny_models.build("sd", tmp_path_factory.mktemp("sd") / "sd"))


@pytest.fixture(scope="module")
def shapes() -> FrozenPrior:
    return load_prior("shapes")


def picture(prior: FrozenPrior, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, prior.image_size, prior.image_size, generator=generator)


def few(prior: FrozenPrior, **changes: Any) -> EmerDiff:
    return replace(emerdiff_preset(prior), steps=3, ensemble=1, **changes)


def path_of(prior: FrozenPrior, method: EmerDiff) -> str:
    from scorefield.priors.features.taps import layer_path

    return layer_path(prior.model, method.modulated)


@pytest.fixture(params=["sd", "shapes"])
def prior(request: pytest.FixtureRequest) -> Iterator[FrozenPrior]:
    yield request.getfixturevalue(request.param)


def test_own_attention_injected_reproduces_the_image(prior: FrozenPrior) -> None:
    method = few(prior)
    x = prior.encode(picture(prior))
    trajectory = record_trajectory(prior, x, method.levels(prior.schedule), rows=2)
    again = modulated_trajectory(
        prior, prior.condition(), trajectory, path_of(prior, method), None, rows=2
    )
    assert torch.allclose(again, x.expand_as(again), atol=1e-5)


def test_injection_is_what_runs(prior: FrozenPrior) -> None:
    """Attention of another image changes the result: the hooks do replace queries and keys."""
    denoiser, level = prior.condition(), prior.schedule.at_timestep(281)
    z = torch.randn(2, *prior.latent_shape, generator=torch.Generator().manual_seed(0))
    with recorded(prior.model) as records:
        plain = denoiser(z, level).eps
    assert set(records) == set(projection_paths(prior.model))
    with injected(prior.model, records, 0):
        first = denoiser(z, level).eps
    assert torch.allclose(first[0], plain[0], atol=1e-5)
    assert not torch.allclose(first[1], plain[1], atol=1e-3)
    assert torch.equal(denoiser(z, level).eps, plain)  # and nothing is left behind


def test_injection_agrees_with_attention_written_out(sd: FrozenPrior) -> None:
    """One layer: softmax(Q K^T / sqrt(d)) V with the other row's Q and K, this row's V."""
    path = next(p for p, _ in sd.model.named_modules() if p.endswith("attn1"))
    attention = sd.model.get_submodule(path)
    width = attention.to_q.in_features
    hidden = torch.randn(2, 9, width, generator=torch.Generator().manual_seed(0))
    holder = torch.nn.ModuleDict({"attention": attention})
    with torch.no_grad(), recorded(holder) as records:
        attention(hidden)
    with torch.no_grad(), injected(holder, records, 0):
        found = attention(hidden)[1]
    q, k = (
        attention.get_submodule(name)(hidden[0]).unflatten(1, (attention.heads, -1)).transpose(0, 1)
        for name in ("to_q", "to_k")
    )
    v = attention.to_v(hidden[1]).unflatten(1, (attention.heads, -1)).transpose(0, 1)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    expected = attention.to_out[0]((weights @ v).transpose(0, 1).flatten(1))
    assert torch.allclose(found, expected, atol=1e-5)


def test_modulation_adds_to_the_cells_of_the_mask(prior: FrozenPrior) -> None:
    path = path_of(prior, few(prior))
    outputs: list[Tensor] = []
    attention = prior.model.get_submodule(path)
    z = torch.randn(1, *prior.latent_shape, generator=torch.Generator().manual_seed(0))
    denoiser, level = prior.condition(), prior.schedule.at_timestep(281)

    def note(offsets: Tensor | None) -> Tensor:
        with modulated(prior.model, path, offsets):
            handle = attention.register_forward_hook(lambda *args: outputs.append(args[2]))
            value = denoiser(z, level).eps
            handle.remove()
        return value

    plain = note(None)
    side = round(outputs[0].shape[1] ** 0.5)
    offsets = torch.zeros(1, side, side)
    offsets[0, 1, 2] = 3.0
    changed = note(offsets)
    difference = (outputs[1] - outputs[0])[0]
    assert torch.allclose(difference[side + 2], torch.full_like(difference[0], 3.0), atol=1e-5)
    difference[side + 2] = 0
    assert float(difference.abs().max()) == 0
    assert not torch.allclose(plain, changed, atol=1e-4)
    assert torch.equal(note(torch.zeros_like(offsets)), plain)


def test_no_strength_makes_no_difference(prior: FrozenPrior) -> None:
    low = torch.zeros(8, 8, dtype=torch.long)
    low[:4] = 1
    maps = difference_maps(prior, picture(prior), low, 2, few(prior, strength=0))
    assert float(maps.abs().max()) < 1e-5
    maps = difference_maps(prior, picture(prior), low, 2, few(prior))
    assert float(maps.max()) > 1e-3


def test_the_image_changes_where_it_is_modulated(shapes: FrozenPrior) -> None:
    """Each region's map is higher in its own half of the image than in the other.

    1.65 to 4.9 times on the first six images of seed 31; without locality it would be once.
    """
    low = torch.zeros(8, 8, dtype=torch.long)
    low[:4] = 1
    image = render([draw_scene(31, 3)]).images
    maps = difference_maps(shapes, image, low, 2, few(shapes))
    assert float(maps[1, :24].mean()) > 1.5 * float(maps[1, 40:].mean())
    assert float(maps[0, 40:].mean()) > 1.5 * float(maps[0, :24].mean())


def test_neither_batch_nor_order_matters(sd: FrozenPrior) -> None:
    """All masks together, in pieces, or one by one: up to the rounding of batched products."""
    low = torch.arange(64).reshape(8, 8) % 3
    image = picture(sd)
    for one_sided in (False, True):
        method = few(sd, one_sided=one_sided)
        together = difference_maps(sd, image, low, 3, method, rows=32)
        for rows in (1, 4):
            apart = difference_maps(sd, image, low, 3, method, rows=rows)
            assert torch.allclose(together, apart, atol=1e-4)
        backwards = difference_maps(sd, image, 2 - low, 3, method)
        assert torch.allclose(together, backwards.flip(0), atol=1e-4)


def test_walks_are_those_of_edit_friendly_inversion(sd: FrozenPrior) -> None:
    """In one batch or level by level, the residuals are the same, over the same levels."""
    x = sd.encode(picture(sd))
    maps = edit_friendly_invert(sd.condition(), x, steps=4, seed=3, items=[7])
    trajectory = record_trajectory(sd, x, maps.levels, key=7, seed=3, rows=3)
    assert torch.allclose(trajectory.residuals[:, None], maps.residuals, atol=1e-4)
    assert torch.allclose(trajectory.start, maps.start())


def test_levels_are_the_papers(sd: FrozenPrior) -> None:
    levels = replace(few(sd), level=sd.schedule.at_timestep(281), steps=15).levels(sd.schedule)
    timesteps = [float(sd.schedule.timestep(level)) for level in levels[:-1]]
    assert timesteps == pytest.approx([281 - 20 * i for i in range(15)], abs=1e-3)
    assert float(levels[-1].sigma) == 0


def test_images_of_any_size_and_their_regions(shapes: FrozenPrior) -> None:
    image = render([draw_scene(31, 0)]).images[0]
    wide = torch.nn.functional.interpolate(image[None], (80, 120), mode="bilinear")[0]
    found = segment(shapes, wide, 4, few(shapes))[0]
    assert found.labels.shape == (80, 120) and found.low_res.shape == (8, 8)
    assert found.scores.shape == (4, 64, 64) and found.k == 4
    counts = found.low_res.flatten().bincount()
    assert bool((counts.diff() <= 0).all())  # the largest first
    assert found.evaluations == 1 + 3 * (1 + 2 * 4)
    same = segment(shapes, wide, 4, few(shapes))[0]
    assert torch.equal(found.labels, same.labels) and torch.equal(found.scores, same.scores)


def test_normalised_maps_compete_as_equals(sd: FrozenPrior) -> None:
    image = picture(sd)[0]
    raw, equal = (
        segment(sd, image, 3, few(sd, normalised=normalise))[0] for normalise in (False, True)
    )
    assert torch.allclose(equal.scores, raw.scores / raw.scores.amax((1, 2))[:, None, None])
    assert torch.equal(equal.labels, equal.scores.argmax(0))


def test_labels_of_cells_may_be_given(shapes: FrozenPrior) -> None:
    images = render([draw_scene(31, i) for i in range(2)]).images
    shared = cell_labels(shapes, images, 3, few(shapes))
    assert shared.shape == (2, 8, 8)
    gaps = torch.full((8, 8), 3)
    gaps[:, 4:] = 1  # 0 and 2 are nowhere
    found = segment(shapes, images[0], 4, few(shapes), low_res=gaps)[0]
    assert set(found.labels.unique().tolist()) <= {1, 3}
    with pytest.raises(ValueError, match=r"labels 0 ... 2; got 1 ... 3"):
        segment(shapes, images[0], 3, few(shapes), low_res=gaps)[0]
    with pytest.raises(ValueError, match="has 64 places"):
        segment(shapes, images[0], 4, few(shapes), low_res=gaps[:4])[0]


def test_masks_are_sharper_than_their_cells(shapes: FrozenPrior) -> None:
    """On 2 images of the tuning seed; the evaluation measures how much, on others."""
    gains = []
    for index in range(2):
        pictures = render([draw_scene(31, index)])
        found = segment(shapes, pictures.images[0], 4, few(shapes))[0]
        cells = bilinear_masks(found.low_res, pictures.images[0], 4)
        truth = pictures.part[0] + 1
        smooth = resized_argmax(cells, (64, 64))
        gains.append(boundary_f(found.labels, truth) - boundary_f(smooth, truth))
    assert sum(gains) / 2 > 0.1


def test_half_precision_inside_the_network_only(tmp_path: Path) -> None:
    with _quiet():
        folder = tiny_models.build("sd", tmp_path / "sd")
    half = load_prior(folder, dtype=torch.bfloat16)
    found = segment(half, picture(half)[0], 3, few(half))[0]
    assert found.scores.dtype == torch.float32 and bool(found.scores.isfinite().all())


@pytest.mark.parametrize("name", ["sd", "sdxl", "if", "ddpm", "dit", "sd3", "flux"])
def test_every_family_of_images_has_a_preset(name: str, tmp_path: Path) -> None:
    with _quiet():
        folder = tiny_models.build(name, tmp_path / name)
    prior = load_prior(folder, **tiny_models.SIZES.get(name, {}))
    for clusters in (None, NormalisedCut()):
        method = clusters_preset(prior, clusters)
        assert method.source
        found = segment(prior, picture(prior)[0], 2, replace(method, ensemble=1))[0]
        assert set(found.labels.unique().tolist()) <= {0, 1}
    if cross_attention_paths(prior.model):
        found = segment(prior, picture(prior)[0], 2, few(prior))[0]
        assert bool(found.scores.isfinite().all())
    else:
        with pytest.raises(ValueError, match="no cross-attention"):
            emerdiff_preset(prior)


def test_the_preset_of_stable_diffusion_is_the_papers(tmp_path: Path) -> None:
    with _quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = tiny_models.sd()
        pipeline.unet = tiny_models.unet(
            block_out_channels=(8, 8, 16, 16),
            layers_per_block=2,
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        )
        prior = from_pipeline(pipeline)
    method = emerdiff_preset(prior)
    assert method.queries == "up1.attentions.0.transformer_blocks.0.attn2.to_q"
    assert method.modulated == "up1.attentions.2.transformer_blocks.0.attn2"
    assert float(prior.schedule.timestep(method.query_level)) == 1
    assert float(prior.schedule.timestep(method.level)) == 281
    assert (method.strength, method.steps) == (10, 15)
    found = segment(prior, picture(prior)[0], 2, replace(method, steps=2, ensemble=1))[0]
    assert found.low_res.shape == (4, 4)  # a quarter of the latent's side


def test_what_cannot_be_is_refused_first(sd: FrozenPrior) -> None:
    method = few(sd)
    with pytest.raises(ValueError, match=r"are up1\.attentions\.0\.transformer_blocks\.0\.attn2"):
        check_method(sd, replace(method, modulated="up1.resnets.0"))
    with pytest.raises(ValueError, match="no layer 'up9'"):
        check_method(sd, replace(method, queries="up9"))
    with pytest.raises(ValueError, match="multiple of 4 pixels"):
        check_method(sd, replace(method, size=18))
    with pytest.raises(ValueError, match="must be at least 1; got 0"):
        replace(method, steps=0)
    with pytest.raises(ValueError, match="blur must be at least 0"):
        replace(method, blur=-1.0)


def test_a_size_without_memory_is_refused_with_one_that_fits(sd: FrozenPrior) -> None:
    own = (64 / sd.image_size) ** 2
    exact = (3 * record_memory(sd, own) + 2 * memory_estimate(sd, own).most) / 2**30
    assert rows_that_fit(sd, 64, 3, exact * 1.001) == 2
    with pytest.raises(ValueError, match=r"256x256 pixels need .* a size of 64 fits"):
        rows_that_fit(sd, 256, 3, exact * 1.001)
    with pytest.raises(ValueError, match="no size fits"):
        rows_that_fit(sd, 64, 3, 1e-9)


class _Live(TorchDispatchMode):
    """The most bytes of tensors made inside that were alive at once, weights left out."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        super().__init__()
        self.weights = {
            parameter.untyped_storage().data_ptr()
            for module in modules
            for parameter in module.parameters()
        }
        self.alive: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage.data_ptr() not in self.weights:
                    self.alive[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


@pytest.mark.parametrize("size", [32, 64])
def test_memory_is_estimated_on_the_safe_side(shapes: FrozenPrior, size: int) -> None:
    """Between once and six times what a pass really holds."""
    z = torch.zeros(1, 4, size // 4, size // 4)
    denoiser, level = shapes.condition(), shapes.schedule.at_timestep(281)
    area = (size / shapes.image_size) ** 2
    need = memory_estimate(shapes, area)
    with torch.no_grad(), _Live(shapes.model) as live:
        denoiser(z, level)
    assert live.peak <= need.row <= 6 * live.peak
    for through_codec in (
        lambda: shapes.decode(z),
        lambda: shapes.encode(torch.zeros(1, 3, size, size)),
    ):
        with torch.no_grad(), _Live(shapes.codec.vae) as live:
            through_codec()
        assert live.peak <= need.codec <= 6 * live.peak
    with recorded(shapes.model) as records:
        denoiser(z, level)
    held = sum(values.nbytes for values in records.values())
    assert 0.8 * held <= record_memory(shapes, area) <= 1.5 * held
