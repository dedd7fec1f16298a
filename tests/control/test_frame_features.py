"""Maps of frames by a frozen prior: once per frame, the same, in bounded memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.encoders import FrozenFeatures, map_of
from scorefield.control.networks.settings import EncoderSettings, PerceptronSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.training.frame_features import FrameFeatures
from scorefield.control.training.train import train_policy
from scorefield.training.settings import TrainingSettings

STEPS, HORIZONS = 6, Horizons(2, 2, 3)
SPACES = PolicySpaces(2, 2, (-1.0, -1.0), (1.0, 1.0), {"front": (16, 16), "side": (16, 20)})


def windows() -> Windows:
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            rng.uniform(-1, 1, (STEPS, 2)),
            rng.uniform(-1, 1, (STEPS, 2)),
            {n: rng.integers(0, 256, (STEPS, *s, 3), np.uint8) for n, s in SPACES.images.items()},
        )
        for _ in range(3)
    ]
    return Windows(Episodes.of(episodes), HORIZONS)


def policy(crop: float = 1.0) -> DiffusionPolicy:
    return DiffusionPolicy(
        SPACES,
        HORIZONS,
        PerceptronSettings(8, 1, 2),
        encoder=EncoderSettings(keypoints=2, prior="shapes", layer="mid", crop=crop),
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the frozen network, one number per call."""
    counts: list[int] = []
    forward = FrozenFeatures.forward

    def counted(self: FrozenFeatures, images: Tensor) -> Tensor:
        counts.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(FrozenFeatures, "forward", counted)
    return counts


@pytest.mark.parametrize("kept", [18, 5, 0])
def test_windows_have_the_maps_of_their_images(kept: int, seen: list[int]) -> None:
    made, drawn = policy(), windows()
    one = made.encoder.maps("front", torch.zeros(1, 3, 16, 16))
    memory = (kept + 0.5) * 2 * one.numel() * 4 / 2**30
    features = FrameFeatures(made.encoder, drawn.episodes, memory)
    assert features.kept == kept
    seen.clear()
    indices = [0, 3, 3, len(drawn) - 1]
    found, images = features.batch(drawn, indices), drawn.batch(indices)
    assert set(found) == {"state", "action", *map(map_of, SPACES.images)}
    # what is not kept is looked at once per frame, however often the windows show it
    rows = {int(row) for row in drawn.observed(indices).flat}
    assert sum(seen) == 2 * sum(row >= kept for row in rows)
    torch.testing.assert_close(made.encoder(found), made.encoder(images))


def train(made: DiffusionPolicy, folder: Path, steps: int = 20, resume: bool = False) -> Tensor:
    learnt, held_out = windows().split(0.34)
    settings = TrainingSettings(steps, 8, 1e-3, warmup=2)
    trained = train_policy(made, learnt, settings, folder, held_out=held_out, resume=resume)
    return torch.cat([tensor.flatten() for tensor in trained.state_dict().values()])


def test_a_training_looks_at_every_frame_once(tmp_path: Path, seen: list[int]) -> None:
    made, cropped = policy(), policy(crop=0.99)  # of 16 and 20 pixels all are left
    seen.clear()
    weights = train(made, tmp_path / "once")
    assert sum(seen) == 2 * (1 + 3 * STEPS)  # a first one, for the shape of the maps
    seen.clear()
    every_time = train(cropped, tmp_path / "every time")
    assert sum(seen) > 20 * 8 * 2 * 2
    torch.testing.assert_close(weights, every_time, atol=1e-4, rtol=1e-4)


def test_a_resumed_training_has_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorefield.control.training.train.CHECKPOINT_EVERY", 2)
    whole = train(policy(), tmp_path / "whole", steps=6)
    stopped = policy()
    loss, calls = stopped.loss, iter(range(7))  # of updates, and of held-out episodes after each

    def stops(batch: dict[str, Tensor], draws: ShardedGenerator) -> Tensor:
        if next(calls) == 6:
            raise InterruptedError("stopped")
        return loss(batch, draws)

    monkeypatch.setattr(stopped, "loss", stops)
    with pytest.raises(InterruptedError):
        train(stopped, tmp_path / "stopped", steps=6)
    assert (tmp_path / "stopped" / "checkpoint").exists()
    assert torch.equal(train(policy(), tmp_path / "stopped", steps=6, resume=True), whole)
