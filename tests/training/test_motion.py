"""The network of clips, and its recipe a few steps at a time."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTokenizer

from scorefield.priors.clip_unet import ClipUNet
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.runs.folder import RunFolder
from scorefield.training.motion import (
    MotionTask,
    TextToClips,
    make_clip_schedule,
    train_motion,
)
from scorefield.training.settings import TrainingSettings
from scorefield.world.clips import (
    BROAD,
    CLIP_WORDS,
    FRAMES,
    NARROW,
    NARROW_CLIPS,
    Clip,
    ClipSet,
)

WIDTH = 8
SETTINGS = TrainingSettings(steps=4, batch_size=4, learning_rate=1e-3, warmup=2, ema=0.9)


def make_network(seed: int = 0) -> ClipUNet:
    """Small, and with weights where a fresh one has zeros."""
    torch.manual_seed(seed)
    network = ClipUNet(width=WIDTH)
    for weight in network.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return network


def inputs(batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(batch, 3, FRAMES, 16, 16, generator=generator)
    timesteps = torch.tensor([10.0, 500.0, 999.0])[:batch]
    return clips, timesteps, torch.randn(batch, 8, 64, generator=generator)


def test_the_network_has_the_size_it_is_said_to_have() -> None:
    assert sum(p.numel() for p in ClipUNet().parameters()) == pytest.approx(1.1e6, rel=0.05)


def test_saved_and_loaded_to_the_same_bits(tmp_path: Path) -> None:
    network = make_network()
    network.save_pretrained(tmp_path, safe_serialization=True)
    loaded = ClipUNet.from_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "ClipUNet"
    assert loaded.config.width == WIDTH
    with torch.no_grad():
        assert torch.equal(network(*inputs()).sample, loaded(*inputs()).sample)


@torch.no_grad()
def test_a_clip_does_not_depend_on_its_batch() -> None:
    network = make_network()
    together = network(*inputs()).sample
    assert together.shape == (3, 3, FRAMES, 16, 16)
    turned = network(*(x.flip(0) for x in inputs())).sample
    torch.testing.assert_close(turned.flip(0), together, rtol=1e-4, atol=1e-5)
    alone = network(*(x[1:2] for x in inputs())).sample
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_timesteps_of_all_kinds() -> None:
    network = make_network()
    clips, _, text = inputs()
    expected = network(clips, torch.full((3,), 500), text).sample
    for timestep in (500, 500.0, torch.tensor(500), torch.tensor([500.0])):
        assert torch.equal(network(clips, timestep, text).sample, expected)
    (plain,) = network(clips, 500, text, return_dict=False)
    assert torch.equal(plain, expected)


@torch.no_grad()
def test_everything_given_matters() -> None:
    network = make_network()
    clips, timesteps, text = inputs()
    value = network(clips, timesteps, text).sample
    frames = clips.flip(2)
    for other in (
        (frames, timesteps, text),
        (clips, timesteps / 2, text),
        (clips, timesteps, -text),
    ):
        assert float((network(*other).sample - value).abs().max()) > 1e-3
    # what happens in the last frame is seen in the first
    changed = clips.clone()
    changed[:, :, -1] += 1
    assert float((network(changed, timesteps, text).sample - value)[:, :, 0].abs().max()) > 1e-3


def test_the_gradient_reaches_every_weight() -> None:
    network = make_network()
    network(*inputs()).sample.square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.any()), name


def test_the_derivative_of_the_network() -> None:
    network = make_network().double()
    clips, timesteps, text = (x.double() for x in inputs(1))
    direction = torch.randn(clips.shape, generator=torch.Generator().manual_seed(2)).double()
    clips.requires_grad_()
    network(clips, timesteps, text).sample.square().sum().backward()
    assert clips.grad is not None

    def value(step: float) -> float:
        with torch.no_grad():
            moved = network(clips + step * direction, timesteps, text).sample
        return float(moved.square().sum())

    numeric = (value(1e-5) - value(-1e-5)) / 2e-5
    assert float((clips.grad * direction).sum()) == pytest.approx(numeric, rel=1e-5)


def test_other_sizes_are_refused() -> None:
    for size in (4, 18):
        with pytest.raises(ValueError, match=f"sample_size must be a multiple of 4.*got {size}"):
            ClipUNet(sample_size=size)
    with pytest.raises(ValueError, match="num_frames must be 2 or more; got 1"):
        ClipUNet(num_frames=1)
    with pytest.raises(ValueError, match=r"width must be a multiple of 8.*got 20"):
        ClipUNet(width=20)
    clips, timesteps, text = inputs()
    for wrong in (clips[..., :14], clips[:, :, :7], clips[:, :2]):
        with pytest.raises(ValueError, match=r"clips must have shape \(3, 8, 16, 16\)"):
            make_network()(wrong, timesteps, text)


def test_the_schedule() -> None:
    """An eighth of the cosine's SNR at every step, and no signal at the last."""
    schedule = make_clip_schedule()
    cosine = DiscreteSchedule.cosine()
    for timestep in (0, 250, 500, 900):
        shift = schedule.at_timestep(timestep).log_snr - cosine.at_timestep(timestep).log_snr
        assert float(shift) == pytest.approx(-math.log(8), abs=1e-3)
    assert schedule.is_zero_terminal_snr


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name in sorted(value, key=str):
            yield from leaves(value[name])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.fixture(autouse=True)
def no_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MotionTask, "preview", lambda self, step: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training of four steps."""
    out = tmp_path_factory.mktemp("motion") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MotionTask, "preview", lambda self, step: None)
        folder = train_motion(out, BROAD, SETTINGS, WIDTH, name="tiny", progress=False)
    assert folder == out / "tiny"
    return out


@pytest.mark.parametrize("clips", [BROAD, NARROW])
def test_trains_and_resumes_to_the_same_bits(clips: ClipSet, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_motion(whole, clips, SETTINGS, WIDTH, progress=False)

    class Stopped(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        step = MotionTask.step

        def stops(self: MotionTask, k: int) -> Any:
            if k == 2:
                raise Stopped
            return step(self, k)

        patch.setattr(MotionTask, "step", stops)
        train_motion(parts, clips, SETTINGS, WIDTH, progress=False)
    torch.manual_seed(99)  # nothing depends on the global generator
    train_motion(parts, clips, SETTINGS, WIDTH, resume=True, progress=False)

    states = [RunFolder(path, {}).load_checkpoint() for path in (whole, parts)]
    for a, b in zip(leaves(states[0]), leaves(states[1]), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b
    metrics = [(path / "metrics.jsonl").read_bytes() for path in (whole, parts)]
    assert metrics[0] == metrics[1]
    rows = [json.loads(line) for line in metrics[0].splitlines()]
    assert len(rows) == 4
    assert all(math.isfinite(figure) for row in rows for figure in row.values())


def test_every_weight_is_trained_but_the_words() -> None:
    task = MotionTask(BROAD, SETTINGS, WIDTH)
    words = [p.clone() for p in task.module.text_encoder.parameters()]
    start = [p.detach().clone() for p in task.parameters]
    for step in range(4):  # from the zeros of the last layer back to the first
        task.step(step)
    assert all(bool((p != s).any()) for p, s in zip(task.parameters, start, strict=True))
    assert len(task.parameters) == len(list(task.module.unet.parameters()))
    now = task.module.text_encoder.parameters()
    assert all(torch.equal(a, b) for a, b in zip(words, now, strict=True))


def test_descends() -> None:
    """Steps on one and the same batch lower its loss."""
    task = MotionTask(NARROW, SETTINGS, WIDTH)
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


def test_the_narrow_prior_sees_its_clips_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    draw = ClipSet.__getitem__

    def noted(self: ClipSet, index: int) -> Clip:
        seen.add(index)
        return draw(self, index)

    monkeypatch.setattr(ClipSet, "__getitem__", noted)
    narrow, fresh = MotionTask(NARROW, SETTINGS, WIDTH), MotionTask(BROAD, SETTINGS, WIDTH)
    for task in (narrow, fresh):
        monkeypatch.setattr(task, "module", Zero())
    for step in range(40):
        narrow.loss(step, noise_generator(0, step))
    assert seen <= set(range(NARROW_CLIPS))
    assert len(seen) > 50  # of 64, in 160 draws: 59 are expected
    seen.clear()
    fresh.loss(5, noise_generator(0, 5))
    assert seen == {20, 21, 22, 23}


class Zero(nn.Module):
    """A network whose loss is the mean square of the target."""

    def forward(self, z: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        return torch.zeros_like(z)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be 2 or more"):
        MotionTask(BROAD, replace(SETTINGS, batch_size=1), WIDTH)
    with pytest.raises(ValueError, match="low_noise must be positive; got 0"):
        MotionTask(BROAD, SETTINGS, WIDTH, low_noise=0)


class Times(nn.Module):
    """Notes the timesteps it is asked at."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, z: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        self.asked.append(timestep)
        return torch.zeros_like(z)


@pytest.mark.parametrize(("low_noise", "share"), [(1.0, 0.205), (1.5, 0.347)])
def test_low_noise_is_what_it_says(low_noise: float, share: float) -> None:
    """Timesteps below 205 of 1000 show more signal than noise: 0.205 ** (1 / low_noise) of them."""
    settings = replace(SETTINGS, batch_size=16)
    task = MotionTask(NARROW, settings, WIDTH, low_noise=low_noise)
    times = Times()
    task.module = times  # type: ignore[assignment]
    for step in range(25):
        task.loss(step, noise_generator(0, step))
    asked = torch.cat(times.asked)
    signal = task.schedule.at_timestep(asked).log_snr > 0
    # stratified: a batch errs by one of its 16 at the most, 25 batches by less than 2 %
    assert float(signal.float().mean()) == pytest.approx(share, abs=0.02)
    assert asked.unique().numel() > 250


def test_the_folder(trained: Path) -> None:
    folder = trained / "tiny"
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "ClipPipeline"
    assert all((folder / name).is_dir() for name in index if not name.startswith("_"))
    card = json.loads((folder / "scorefield.json").read_text())
    assert (card["name"], card["frames"], card["vocabulary"]) == ("tiny", FRAMES, CLIP_WORDS)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    assert scheduler.config.prediction_type == "v_prediction"
    expected = make_clip_schedule().alphas_cumprod.float()
    torch.testing.assert_close(scheduler.alphas_cumprod, expected, rtol=1e-4, atol=1e-6)
    assert float(scheduler.alphas_cumprod[-1]) == 0
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = tokenizer("a red square moving left").input_ids
    assert len(ids) == 7
    assert tokenizer.model_max_length == 8


def test_the_folder_has_the_average_in_half_precision(trained: Path) -> None:
    checkpoint = RunFolder(trained, {}).load_checkpoint()
    assert checkpoint is not None
    step, state = checkpoint
    assert step == 4
    module = TextToClips.load(trained / "tiny")
    for weight, average in zip(module.unet.parameters(), state["average"], strict=True):
        assert weight.dtype == torch.float32
        assert torch.equal(weight, average.half().float())


def test_fine_tuning_starts_from_the_given_weights(trained: Path, tmp_path: Path) -> None:
    given = TextToClips.load(trained / "tiny")
    task = MotionTask(NARROW, SETTINGS, initial=trained / "tiny")
    for mine, theirs in zip(task.module.parameters(), given.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    start = replace(SETTINGS, steps=1, learning_rate=0.0)
    folder = train_motion(
        tmp_path / "run", NARROW, start, initial=trained / "tiny", name="same", progress=False
    )
    kept = TextToClips.load(folder)
    for mine, theirs in zip(kept.parameters(), given.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_other_settings_are_another_training(trained: Path) -> None:
    with pytest.raises(ValueError, match="width"):
        train_motion(trained, BROAD, SETTINGS, 16, name="tiny", resume=True, progress=False)
    with pytest.raises(ValueError, match="clips"):
        train_motion(trained, NARROW, SETTINGS, WIDTH, name="tiny", resume=True, progress=False)


def test_a_finished_training_resumes_to_itself(trained: Path) -> None:
    files = {path: path.read_bytes() for path in (trained / "tiny").rglob("*") if path.is_file()}
    assert len(files) > 6
    train_motion(trained, BROAD, SETTINGS, WIDTH, name="tiny", resume=True, progress=False)
    assert {path: path.read_bytes() for path in files} == files
