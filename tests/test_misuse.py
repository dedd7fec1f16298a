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
from scorefield import control, images, perception, priors, sds
from scorefield.control.data.episode import Episode
from scorefield.perception.correspondence import dift
from scorefield.sds import svg

def no_features(*_, **__):
    raise AssertionError("features were computed")

genuine_features, dift.features = dift.features, no_features
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
    # what comes first
    "sf.text_to_3d('a red mushroom', prior, 'out')": "ValueError: the prior comes first, and load",
    "sf.text_to_3d('shapes', sds.TextTo3DSettings('a lamp'), 'out')": "ValueError: the prior comes",
    "sds.TextTo3D('shapes', sds.TextTo3DSettings('a lamp'))": "ValueError: the prior comes first",
    "sf.text_to_svg('shapes', 'a lamp', 'out')": "ValueError: the prior comes first",
    "svg.TextToSvg('shapes', svg.TextToSvgSettings('a lamp'))": "ValueError: the prior comes first",
    "sf.Distillation('shapes', sds.DistillationSettings('a lamp'))": "ValueError: the prior comes",
    "sf.edit('shapes', flat, 'a lamp')": "ValueError: the prior comes first",
    "sf.classify(flat, prior, ['lamp', 'cup'])": "ValueError: the prior comes first",
    "sf.segment('shapes', flat, 4)": "ValueError: the prior comes first",
    "genuine_features('shapes', flat)": "ValueError: the prior comes first",
    "sf.match(flat, flat, prior)": "ValueError: the prior comes first",
    "sf.text_to_3d(prior, prior, 'out')": "ValueError: .* text or TextTo3DSettings; got FrozenPri",
    "perception.text_scores(flat, prior, ['a lamp'])": "ValueError: the prior comes first",
    "perception.label_fit(flat, prior, ['a lamp'])": "ValueError: the prior comes first",
    "perception.label_fit(prior, flat[None], 'a lamp')": "ValueError: give a list of prompts",
    "perception.dift_preset('shapes')": "ValueError: the prior comes first",
    "perception.emerdiff_preset('shapes')": "ValueError: the prior comes first",
    "perception.clusters_preset('shapes')": "ValueError: the prior comes first",
    "priors.editing.inpaint('shapes', flat, flat[:1], 'a lamp')": "ValueError: the prior comes",
    "priors.editing.prompt_to_prompt('shapes', 'a red cup')": "ValueError: the prior comes first",
    "priors.editing.prompt_to_prompt(prior, 'a red cup')": "ValueError: the edit comes second",
    # denoisers
    "sf.sample(prior, prior.latent_shape)": "ValueError: .* prior.condition.'a table'.",
    "sf.sample(prior, 'a table', n=1)": "ValueError: .* prior.condition.'a table'.",
    "sf.sample(prior.condition('a table'), 'a table')": "ValueError: shape .* prior.latent_shape",
    "sf.compose({'a table': 1})": "ValueError: .* prior.condition.'a table'.",
    "sf.compose([prior.condition('a table'), prior.condition('red')])": "ValueError: give a weight",
    "priors.conjunction(prior.condition(), [prior])": "ValueError: give a weight",
    "prior.generate('a table', 3.0, n=4)": "ValueError: .* repeat the prompt",
    "priors.editing.sdedit(prior, flat[None])": "ValueError: .* prior.condition.'a table'.",
    "priors.editing.ddim_invert(prior, flat[None])": "ValueError: .* prior.condition.'a table'.",
    "priors.editing.ddim_generate('shapes', flat[None])": "ValueError: .* prior.condition.'a",
    "priors.editing.edit_friendly_invert(prior, flat[None])": "ValueError: .* prior.condition.'a",
    "priors.log_likelihood_ode(prior, flat[None])": "ValueError: .* prior.condition.'a table'.",
    "priors.conjunction(prior, {prior.condition(): 1.0})": "ValueError: .* prior.condition.'a tabl",
    "sds.distill(prior, flat[None], None, flat[None])": "ValueError: .* prior.condition.'a table'.",
    # settings
    "sds.TextTo3DSettings('a lamp', objective='vsd')": "ValueError: objective .* VSD.. of scoref",
    "sds.TextTo3DSettings('a lamp', objective=sds.VSD)": "ValueError: objective .* VSD.. of scoref",
    "sds.TextTo3DSettings('a lamp', levels=(0.02, 0.98))": "ValueError: levels .* LevelRange",
    "sds.TextTo3DSettings('a lamp', steps=5.5)": "ValueError: steps must be a whole number",
    "sds.TextTo3DSettings('a lamp', seed=5.5)": "ValueError: seed must be a whole number; got 5.5",
    "sds.TextTo3DSettings('a lamp', later_sizes=(8.5,))": "ValueError: later_sizes must be a whole",
    "sds.TextTo3DSettings('a lamp', scale=5).scale": "5",
    "svg.TextToSvgSettings('a lamp', style='icon')": "ValueError: style .* Icon..",
    "svg.TextToSvgSettings('a lamp', start='none.svg')": "ValueError: start .* 'none.svg', which",
    "svg.TextToSvgSettings('a lamp', start=sys.argv[2]).start": "'<svg/>'",
    "svg.TextToSvgSettings('a lamp', start=Path(sys.argv[2])).start": "'<svg/>'",
    # names
    "sf.gallery.__name__": "'scorefield.gallery'",
    "sf.classifiy": "AttributeError: .*; did you mean 'classify'.",
    "sf.nothing_like_it": "AttributeError: module 'scorefield' has no attribute 'nothing_like_it'$",
    "priors.load_pror": "AttributeError: module 'scorefield.priors' .*; did you mean 'load_prior'.",
    "control.DifusionPolicy": "AttributeError: .*; did you mean 'DiffusionPolicy'.",
    "sds.svg.TextToSVG": "AttributeError: .*; did you mean 'TextToSvg'.",
    "priors.editing.inpainting.__name__": "'scorefield.priors.editing.inpainting'",
    "sf._hidden": "AttributeError: module 'scorefield' has no attribute '_hidden'$",
    # points
    "sf.match(prior, flat, flat, [(200, 31)])": "ValueError: points must lie in the image",
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
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    drawing = tmp_path_factory.mktemp("drawing") / "start.svg"
    drawing.write_text("<svg/>", encoding="utf-8")
    command = [sys.executable, "-c", _BEGIN, json.dumps(list(CALLS)), str(drawing)]
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
