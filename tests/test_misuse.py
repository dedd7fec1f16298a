"""What people do wrong in Python is told in one line with the remedy, or understood.

The calls run in a process of their own, where nothing checks the types of arguments first, as the
tests' hook does.
"""

import json
import re
import subprocess
import sys

import pytest

_BEGIN = """
import json, sys, warnings
import numpy as np
import torch
import scorefield as sf
from pathlib import Path
from scorefield import control, images, priors, sds
from scorefield.control.data.episode import Episode
from scorefield.perception.correspondence import dift
from scorefield.sds import svg

def no_features(*_, **__):
    raise AssertionError("features were computed")

dift.features = no_features
prior = sf.load_prior("shapes")
flat = torch.zeros(3, 64, 64)
moves = np.linspace(0, 1, 40).reshape(20, 2)
episode = Episode(moves, moves)
episodes = control.Episodes.of([episode])
horizons = control.Horizons(2, 8, 9)
policy = control.DiffusionPolicy(control.PolicySpaces.of(episodes), horizons)
told = {}
for call in json.loads(sys.argv[1]):
    try:
        told[call] = repr(eval(call))
    except Exception as error:
        told[call] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""

CALLS = {
    # images
    "images.as_images(torch.full((3, 4, 4), torch.nan))": "ValueError: .* got NaN",
    "images.as_images(torch.ones(3, 4, 4, dtype=torch.int64))": "ValueError: .* into uint8",
    "images.as_images(np.ones((3, 4, 4), np.uint16))": "ValueError: .*65535 of 16 bits",
    "images.as_images(np.ones((4, 4), bool))": "ValueError: .* masks into floats",
    "images.save_image(flat, 'c.png')": "ValueError: .* the path comes first; got Tensor",
    # points
    "sf.match(prior, flat, flat, [(200, 31)])": "ValueError: points must lie in the picture",
    "sf.match(prior, flat, flat, [(20, 31, 5)])": "ValueError: points are .N, 2., x and y",
    "sf.match(prior, flat, flat, [[(2, 3)], [(4, 5)]])": "ValueError: .* of the 1 pairs; got 2",
    "sf.match(prior, flat, flat, [(20, 31), (40, 33)])": "AssertionError: features were computed",
    "sf.match(prior, flat, flat, np.array([[20, 31]]))": "AssertionError: features were computed",
    "sf.match(prior, flat, flat, [[(20, 31), (1, 2)]])": "AssertionError: features were computed",
    # what a prior is
    "prior": r"FrozenPrior.'shapes', latents .4, 16, 16., cpu.$",
    # policies
    "control.PolicySpaces.of(episodes, low=-0.1, high=2).low": r".-0.1, -0.1.$",
    "len(control.Episodes.of([Episode([[1.0]] * 9, [[2]] * 9)]).action)": "9$",
    "control.Episodes.of([(moves, moves)])": "ValueError: episode 0 is tuple; make an Episode",
    "control.Episodes.of([episode, Episode(moves, moves[:, :1])])": "ValueError: episode 1: has",
    "control.Episodes.of([episode, Episode(moves, moves[1:])])": "ValueError: episode 1: arrays",
    "control.Episodes.of([Episode([[1.0], [1.0, 2.0]], moves)])": "ValueError: episode 0: state",
    "sf.train_policy(policy, episodes, control.TrainingSettings(steps=1), 'out')": (
        "ValueError: .* Windows.episodes, policy.horizons.; got Episodes"
    ),
    "policy.act({'state': np.full((2, 2), np.nan, np.float32)})": "ValueError: 'state' is not fin",
}


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    command = [sys.executable, "-c", _BEGIN, json.dumps(list(CALLS))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_understood_or_told_in_one_line_with_the_remedy(
    call: str, told: dict[str, str]
) -> None:
    assert "\n" not in told[call]
    assert re.match(CALLS[call], told[call]), told[call]
