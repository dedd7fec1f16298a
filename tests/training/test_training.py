"""The recipe, a few steps at a time: it trains, resumes to the same bits, and exports."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from untrained import narrow_codec, narrow_denoiser

from scorefield.cameras import orbit
from scorefield.priors.loading import load_prior
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import optimise
from scorefield.training import data, shapes
from scorefield.training.codec import CodecTask, encode_all, make_codec, scale_latents
from scorefield.training.data import from_bytes, render_indices, to_bytes, world_images
from scorefield.training.diffusion import DiffusionTask, make_schedule
from scorefield.training.judge import JudgeTask
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask
from scorefield.training.text_to_image import TextToImageTask, cached_latents
from scorefield.training.tokenizer import WORDS, make_tokenizer
from scorefield.views import camera_vector
from scorefield.world import draw_scene
from scorefield.world.judge import Judge

IMAGES = 24
SETTINGS = TrainingSettings(steps=4, batch_size=4, learning_rate=1e-3, warmup=2, ema=0.9)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return world_images(0, IMAGES, tmp_path_factory.mktemp("world"), progress=False)


def codec_task(images: Tensor) -> CodecTask:
    torch.manual_seed(0)
    return CodecTask(images, SETTINGS, narrow_codec())


def diffusion_task(images: Tensor) -> DiffusionTask:
    means = torch.randn(IMAGES, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    captions = [draw_scene(0, index).caption for index in range(IMAGES)]
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    module = narrow_denoiser(tokenizer)
    return DiffusionTask(means, 0.1 * means.abs(), captions, tokenizer, SETTINGS, module=module)


def camera_task(images: Tensor) -> DiffusionTask:
    means = torch.randn(IMAGES, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    captions = [draw_scene(0, index).caption for index in range(IMAGES)]
    cameras = camera_vector(orbit(IMAGES))
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    module = narrow_denoiser(tokenizer, cameras=True)
    return DiffusionTask(
        means, 0.1 * means.abs(), captions, tokenizer, SETTINGS, module=module, cameras=cameras
    )


def judge_task(images: Tensor) -> JudgeTask:
    return JudgeTask(images, [draw_scene(0, index) for index in range(IMAGES)], SETTINGS)


TASKS: list[Callable[[Tensor], TrainingTask]] = [
    codec_task,
    diffusion_task,
    camera_task,
    judge_task,
]
each_task = pytest.mark.parametrize("make", TASKS)


def run(task: TrainingTask, path: Path, steps: int, resume: bool = False) -> None:
    folder = RunFolder.create(path, {}, resume=resume)
    optimise(
        task,
        steps=steps,
        folder=folder,
        preview_every=0,
        checkpoint_every=2,
        progress=False,
        resume=resume,
    )


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name in sorted(value, key=str):
            yield from leaves(value[name])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@each_task
def test_trains_and_resumes_to_the_same_bits(
    make: Callable[[Tensor], TrainingTask], images: Tensor, tmp_path: Path
) -> None:
    whole = make(images)
    start = [p.detach().clone() for p in whole.parameters]
    run(whole, tmp_path / "whole", 4)
    run(make(images), tmp_path / "parts", 2)
    torch.manual_seed(99)  # nothing depends on the global generator
    resumed = make(images)
    run(resumed, tmp_path / "parts", 4, resume=True)

    for a, b in zip(leaves(whole.state()), leaves(resumed.state()), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b
    metrics = [tmp_path / name / "metrics.jsonl" for name in ("whole", "parts")]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()
    rows = [json.loads(line) for line in metrics[0].read_text().splitlines()]
    assert len(rows) == 4
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(row["gradient_norm"] > 0 for row in rows)
    assert all(bool((p != s).any()) for p, s in zip(whole.parameters, start, strict=True))


@each_task
def test_descends(make: Callable[[Tensor], TrainingTask], images: Tensor) -> None:
    """Steps on one and the same batch lower its loss."""
    task = make(images)
    optimizer = torch.optim.SGD(task.parameters, 1e-2)

    def loss() -> Tensor:
        return task.loss(0, noise_generator(0, 0))[0]

    first = loss()
    assert torch.equal(first, loss())
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(task.parameters, 1.0)
        optimizer.step()
    assert loss().item() < first.item()


@each_task
def test_averaged_is_a_frozen_copy(make: Callable[[Tensor], TrainingTask], images: Tensor) -> None:
    task = make(images)
    before = [p.detach().clone() for p in task.parameters]
    task.step(0)
    averaged = task.averaged()
    assert not any(p.requires_grad for p in averaged.parameters())
    assert not any(m.training for m in averaged.modules())
    assert all(m.training for m in task.module.modules())
    # the decay of the first step is 1 / 10
    for average, now, old in zip(averaged.parameters(), task.parameters, before, strict=True):
        torch.testing.assert_close(average, old + 0.9 * (now.detach() - old))
    copied = [p.clone() for p in averaged.parameters()]
    task.step(1)
    assert all(torch.equal(a, b) for a, b in zip(averaged.parameters(), copied, strict=True))


def test_half_precision_is_inside_autocast(images: Tensor) -> None:
    settings = TrainingSettings(steps=1, batch_size=2, dtype=torch.bfloat16)
    task = CodecTask(images, settings)
    metrics = task.step(0)
    assert math.isfinite(metrics["loss"])
    assert {p.dtype for p in task.parameters} == {torch.float32}


def test_float16_keeps_small_gradients_and_resumes_to_the_same_bits(images: Tensor) -> None:
    """Of a loss of 1e-6 times the usual, unscaled, most gradients would be rounded to zero."""

    class Faint(CodecTask):
        def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
            loss, metrics = super().loss(step, generator)
            return 1e-6 * loss, metrics

    def task(dtype: torch.dtype) -> CodecTask:
        torch.manual_seed(0)
        return Faint(images, replace(SETTINGS, dtype=dtype), narrow_codec())

    half, full = task(torch.float16), task(torch.float32)
    norms = [one.step(0)["gradient_norm"] for one in (half, full)]
    assert norms[0] == pytest.approx(norms[1], rel=0.05)
    resumed = task(torch.float16)
    resumed.load_state(half.state())
    for one in (half, resumed):
        # An update that overflows is left out, and the scale falls.
        one.scaler.load_state_dict({**one.scaler.state_dict(), "scale": 2.0**60})
        assert one.step(1)["gradient_norm"] == 0
        one.step(2)
    assert half.scaler.get_scale() == resumed.scaler.get_scale() < 2.0**60
    for mine, other in zip(half.parameters, resumed.parameters, strict=True):
        assert torch.equal(mine, other) and mine.isfinite().all()


def test_learning_rate() -> None:
    settings = TrainingSettings(steps=100, warmup=10)
    assert [settings.rate(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert settings.rate(10) == pytest.approx(1.0)
    assert settings.rate(55) == pytest.approx(0.51)
    assert settings.rate(100) == pytest.approx(0.02)
    assert settings.rate(1000) == pytest.approx(0.02)
    rates = [settings.rate(step) for step in range(10, 101)]
    assert rates == sorted(rates, reverse=True)


def test_bytes(images: Tensor) -> None:
    assert images.shape == (IMAGES, 64, 64, 3)
    assert images.dtype == torch.uint8
    assert torch.equal(to_bytes(from_bytes(images)), images)
    assert torch.equal(to_bytes(render_indices(0, range(3))), images[:3])


def test_images_are_kept(images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SHARD", 6)
    assert torch.equal(world_images(0, 10, tmp_path, progress=False), images[:10])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"world-0-0000000.npy", "world-0-0000006-0000010.npy"}
    shard = np.load(tmp_path / "world-0-0000000.npy")
    np.testing.assert_array_equal(shard, images[:6].numpy())

    # what is there is not rendered again, and a whole file serves any smaller number
    monkeypatch.setattr(data, "render_indices", None)
    assert torch.equal(world_images(0, 10, tmp_path, progress=False), images[:10])
    assert torch.equal(world_images(0, 4, tmp_path, progress=False), images[:4])


def test_latents_have_unit_mean_square(images: Tensor) -> None:
    torch.manual_seed(0)
    codec = make_codec().eval()
    means, stds = encode_all(codec, images, batch_size=20)
    assert means.shape == stds.shape == (IMAGES, 4, 16, 16)
    scale_latents(codec, means)
    scaled = means * codec.config.scaling_factor
    assert float(scaled.square().mean()) == pytest.approx(1, rel=1e-5)
    posterior = codec.encode(from_bytes(images[:2]) * 2 - 1).latent_dist
    torch.testing.assert_close(posterior.mean, means[:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(posterior.std, stds[:2], rtol=1e-4, atol=1e-5)


class Oracle(nn.Module):
    """Zero, as a network: its loss is the mean square of the target."""

    def forward(self, z: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        return torch.zeros_like(z)


def test_the_target_is_v(images: Tensor) -> None:
    """v = alpha eps - sigma x of unit latents has mean square alpha^2 + sigma^2 = 1."""
    task = diffusion_task(images)
    task.means, task.stds = torch.randn_like(task.means), torch.zeros_like(task.stds)
    task.module = Oracle()
    losses = [task.loss(k, noise_generator(0, k))[0].item() for k in range(20)]
    # 20 batches of 4 draws of 1024 numbers, whose square has variance 2
    error = math.sqrt(2 / (20 * 4 * 1024))
    # the codes are 64 draws, shared by all batches
    shared = math.sqrt(2 / task.means.numel())
    assert abs(np.mean(losses) - 1) < 5 * (error + shared)


def test_batches_of_one_are_refused() -> None:
    settings = TrainingSettings(steps=1, batch_size=1)
    latents = torch.zeros(2, 4, 16, 16)
    with pytest.raises(ValueError, match="batch_size must be 2 or more"):
        DiffusionTask(latents, latents, ["a", "a"], make_tokenizer(), settings)


TINY = TrainingSettings(steps=3, batch_size=2, warmup=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole training of three steps, without its previews."""
    out = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextToImageTask, "preview", lambda self, step: None)
        folder = shapes.train_shapes(out, count=IMAGES, codec=TINY, diffusion=TINY, progress=False)
    assert folder == out / "shapes"
    return out


def test_the_exported_prior_loads(trained: Path) -> None:
    prior = load_prior(trained / "shapes")
    assert prior.name == "shapes"
    assert prior.guidance_scale == shapes.GUIDANCE_SCALE
    assert prior.text.vocabulary == frozenset(WORDS)
    assert (prior.image_size, prior.latent_shape) == (64, (4, 16, 16))
    assert isinstance(prior.schedule, DiscreteSchedule)
    # float32 in diffusers, float64 in training
    expected = make_schedule().alphas_cumprod
    torch.testing.assert_close(prior.schedule.alphas_cumprod, expected, rtol=2e-4, atol=1e-9)
    images = prior.generate(["a red mushroom", "a blue cup, side view"], steps=2)
    assert images.shape == (2, 3, 64, 64)
    assert bool(images.isfinite().all())
    with pytest.raises(ValueError, match="mushroom"):
        prior.condition("a red mushrom")


def test_the_exported_prior_is_the_averaged_one(trained: Path) -> None:
    """Weights are stored in half precision, rounded from those of the last checkpoint."""
    prior = load_prior(trained / "shapes")
    checkpoint = RunFolder(trained / "denoiser", {}).load_checkpoint()
    assert checkpoint is not None
    step, state = checkpoint
    assert step == 3
    weights = [*prior.text.model.parameters(), *prior.network.parameters()]
    for weight, average in zip(weights, state["average"], strict=True):
        assert torch.equal(weight.half(), average.half())


def test_a_finished_training_resumes_to_itself(trained: Path) -> None:
    files = {path: path.read_bytes() for path in (trained / "shapes").rglob("*") if path.is_file()}
    assert len(files) > 8
    shapes.train_shapes(
        trained, count=IMAGES, codec=TINY, diffusion=TINY, resume=True, progress=False
    )
    assert {path: path.read_bytes() for path in files} == files


def test_latents_of_other_images_are_not_taken(trained: Path, images: Tensor) -> None:
    (path,) = trained.glob("latents-*.safetensors")
    torch.manual_seed(0)
    means, _ = cached_latents(make_codec().eval(), images[:8], path, shapes.CODEC)
    assert len(means) == 8


@pytest.mark.slow
def test_preview_shows_each_category_twice(images: Tensor) -> None:
    task = diffusion_task(images)
    preview = TextToImageTask(
        make_codec().eval(),
        task.means,
        task.stds,
        ["a cup"] * IMAGES,
        make_tokenizer(),
        SETTINGS,
        prompts=shapes.preview_prompts(),
        guidance_scale=3.5,
    )
    sheet = preview.preview(0)
    assert sheet.shape == (3, 2 * 66 + 2, 12 * 66 + 2)
    assert preview.module.training
    assert all(p.requires_grad for p in preview.parameters)


def test_the_trained_judge_loads(tmp_path: Path) -> None:
    path = shapes.train_judge(tmp_path, count=8, settings=TINY, progress=False)
    verdict = Judge.load(path)(render_indices(1, range(2)))
    assert len(verdict.categories) == 2


def test_no_step_moves_the_global_generator(images: Tensor) -> None:
    task = codec_task(images)
    before = torch.get_rng_state()
    task.step(0)
    task.preview(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pipeline_keeps_its_schedule(trained: Path) -> None:
    """What is sampled by default begins where nothing of the image is left."""
    prior = load_prior(trained / "shapes")
    assert isinstance(prior.schedule, DiscreteSchedule)
    assert prior.schedule.is_zero_terminal_snr
