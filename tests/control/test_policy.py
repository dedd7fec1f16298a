"""What policies take as observations."""

import numpy as np
import pytest
import torch

from scorefield.control import ChunkPolicy, Diffusion, Horizons, PolicySpaces, TrunkSettings

SPACES = PolicySpaces(state=3, action=2, low=(-1.0, -1.0), high=(1.0, 1.0))


@pytest.fixture(scope="module")
def policy() -> ChunkPolicy:
    return ChunkPolicy(Diffusion, SPACES, Horizons(2, 4, 8), TrunkSettings(width=8, layers=1))


def test_arrays_of_any_float_with_or_without_a_batch_axis(policy: ChunkPolicy) -> None:
    state = np.linspace(0, 1, 6).reshape(2, 3)
    expected = policy.act({"state": torch.from_numpy(state).float()[None]})
    assert expected.shape == (1, 4, 2)
    alone = policy.act({"state": state, "view": np.zeros(3)})
    assert alone.dtype == torch.float32 and torch.equal(alone, expected[0])
    assert torch.equal(policy.act({"state": state[None]}), expected)


def test_shapes_that_are_not_what_was_wanted(policy: ChunkPolicy) -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 3\); the policy wants \(2, 3\)"):
        policy.act({"state": np.zeros((1, 3))})
    with pytest.raises(ValueError, match=r"sees 'state' of shape \(2, 3\), and .* hold \['s'\]"):
        policy.act({"s": np.zeros((2, 3))})
