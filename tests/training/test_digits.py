"""The recipe of the prior of digits, a few steps at a time, and the prior that ships."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scorefield.priors import load_prior
from scorefield.priors.noise import noise_generator
from scorefield.training.digits import (
    HELD_OUT,
    VALIDATION,
    DigitsTask,
    digits_part,
    jittered,
    train_digits,
)
from scorefield.training.recipes import DIGITS
from scorefield.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=4, batch_size=8, learning_rate=1e-3, warmup=2, ema=0.9)


def test_parts_are_apart_and_balanced() -> None:
    parts = [digits_part(name) for name in ("training", "validation", "held-out")]  # type: ignore[arg-type]
    assert [len(part.labels) for part in parts] == [
        1797 - HELD_OUT - VALIDATION,
        VALIDATION,
        HELD_OUT,
    ]
    seen = [{tuple(row) for row in part.images.flatten(1).tolist()} for part in parts]
    assert not (seen[0] & seen[1]) and not (seen[0] & seen[2]) and not (seen[1] & seen[2])
    for part in parts:
        assert 0 <= float(part.images.min()) and float(part.images.max()) == 1
        shares = part.labels.bincount(minlength=10) / len(part.labels)
        assert bool(((shares - 0.1).abs() < 0.01).all())


def test_jitter_moves_little() -> None:
    images = digits_part("training").images[:50]
    moved = jittered(images, noise_generator(0))
    assert moved.shape == images.shape and 0 <= float(moved.min()) <= float(moved.max()) <= 1
    same = (moved - images).square().mean((1, 2, 3)).sqrt()
    others = (images.flip(0) - images).square().mean((1, 2, 3)).sqrt()
    assert 0.02 < float(same.mean()) < 0.5 * float(others.mean())


def test_training_learns() -> None:
    task = DigitsTask(digits_part("training"), replace(DIGITS, steps=20, warmup=2))
    losses = [task.step(step)["loss"] for step in range(20)]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert task.preview(20).shape[0] == 3
    with pytest.raises(ValueError, match="batch_size must be 2 or more"):
        DigitsTask(digits_part("training"), replace(SETTINGS, batch_size=1))


def test_an_interrupted_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DigitsTask, "preview", lambda self, step: None)
    whole = train_digits(tmp_path / "whole", SETTINGS, progress=False)
    original = DigitsTask.step

    def stop(self: DigitsTask, step: int) -> object:
        if step == 2:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(DigitsTask, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train_digits(tmp_path / "again", SETTINGS, progress=False)
    again = train_digits(tmp_path / "again", SETTINGS, resume=True, progress=False)
    name = "unet/diffusion_pytorch_model.safetensors"
    one, other = load_file(whole / name), load_file(again / name)
    assert all(torch.equal(one[key], other[key]) for key in one)
    prior = load_prior(again)
    assert prior.name == "digits" and prior.latent_shape == (1, 8, 8)
    assert prior.generate(["3", ""], steps=2).shape == (2, 3, 8, 8)


def test_the_card_is_that_of_the_code() -> None:
    folder = Path(str(files("scorefield.priors") / "weights" / "digits"))
    card = json.loads((folder / "scorefield.json").read_text())
    prior = load_prior("digits")
    assert prior.name == card["name"] == "digits"
    assert prior.guidance_scale == card["guidance_scale"]
    assert prior.schedule.is_zero_terminal_snr  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no class"):
        prior.condition("ten")
