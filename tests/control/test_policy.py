"""What policies take as observations, and how their numbers are scaled and bounded."""

import numpy as np
import pytest
import torch

from scorefield.control import DiffusionPolicy, Horizons, PerceptronSettings, PolicySpaces
from scorefield.control.data.normalizer import Normalizer, bounded

SPACES = PolicySpaces(state=3, action=2, low=(-1.0, -1.0), high=(1.0, 1.0))


@pytest.fixture(scope="module")
def policy() -> DiffusionPolicy:
    return DiffusionPolicy(SPACES, Horizons(2, 4, 8), PerceptronSettings(width=8, layers=1))


def test_arrays_of_any_float_with_or_without_a_batch_axis(policy: DiffusionPolicy) -> None:
    state = np.linspace(0, 1, 6).reshape(2, 3)
    expected = policy.act({"state": torch.from_numpy(state).float()[None]})
    assert expected.shape == (1, 4, 2)
    alone = policy.act({"state": state, "view": np.zeros(3)})
    assert alone.dtype == torch.float32 and torch.equal(alone, expected[0])
    assert torch.equal(policy.act({"state": state[None]}), expected)


def test_shapes_that_are_not_what_was_wanted(policy: DiffusionPolicy) -> None:
    with pytest.raises(ValueError, match=r"wants \(2, 3\), or \(B, 2, 3\) for"):
        policy.act({"state": np.zeros((1, 3))})
    with pytest.raises(ValueError, match=r"sees 'state' of shape \(2, 3\), and .* hold \['s'\]"):
        policy.act({"s": np.zeros((2, 3))})


def test_limits_shift_constants_and_scale_the_rest() -> None:
    rows = np.array([[0.0, 5.0, 1.0], [4.0, 5.00005, -3.0], [1.0, 5.0, 0.0]], dtype=np.float32)
    limits = Normalizer.of(rows)
    out = limits(torch.from_numpy(rows))
    assert torch.allclose(out[:, 0], torch.tensor([-1.0, 1.0, -0.5]))
    assert torch.allclose(out[:, 2], torch.tensor([1.0, -1.0, 0.5]))
    assert out[:, 1].abs().max() < 1e-4 and float(limits.scale[1]) == 1.0
    assert torch.allclose(limits.inverse(out), torch.from_numpy(rows), atol=1e-5)


def test_actions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        bounded(torch.tensor([[float("nan"), 0.0]]), SPACES)


def test_flipped_arrays_and_other_byte_orders_are_read(policy: DiffusionPolicy) -> None:
    state = np.linspace(0, 1, 6).reshape(2, 3)
    expected = policy.act({"state": state[::-1].copy()})
    assert torch.equal(policy.act({"state": state[::-1]}), expected)
    assert torch.equal(policy.act({"state": state[::-1].astype(">f8")}), expected)
    with pytest.raises(ValueError, match="'state' holds object, no numbers"):
        policy.act({"state": state.astype(object)})
