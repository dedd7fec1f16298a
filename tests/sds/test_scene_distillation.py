"""Text to 3D on a prior of renders: it works, repeats, resumes and refuses bad input."""

from pathlib import Path

import pytest
import torch

from scorefield.cameras import orbit
from scorefield.priors import EmpiricalPrior, ImagePrior, PixelCodec
from scorefield.runs import NonFiniteError, RunFolder, optimise
from scorefield.sds import CameraDistribution, LevelRange, RadianceField, TextTo3D, TextTo3DSettings
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.world import draw_scene, render

SIZE = 16


@pytest.fixture(scope="module")
def prior() -> ImagePrior:
    """96 red mushrooms at 16x16, labelled with their views."""
    scenes = [draw_scene(50, i, category="mushroom", color="red") for i in range(96)]
    images = render(scenes, size=SIZE).images
    labels = [f"a red mushroom, {scene.view}" for scene in scenes]
    return ImagePrior(
        EmpiricalPrior(2 * images - 1, labels), PixelCodec(), image_size=SIZE, name="mushrooms"
    )


def task(prior: ImagePrior, **changes: object) -> TextTo3D:
    settings = {"scale": 1.0, "steps": 40, "samples": 24} | changes
    field = VoxelGrid(resolution=16, levels=2)
    return TextTo3D(
        prior,  # type: ignore[arg-type]
        TextTo3DSettings("a red mushroom", **settings),
        RadianceField(field, cells=16),
    )


def test_a_red_object_appears(prior: ImagePrior) -> None:
    """After 40 steps the centre is opaque and red, the border clear, in every view."""
    run = task(prior)
    for step in range(40):
        metrics = run.step(step)
    assert all(torch.isfinite(torch.as_tensor(value)) for value in metrics.values())
    with torch.no_grad():
        seen = run.scene.render(orbit(4), SIZE, SIZE, background=torch.ones(3))
    assert seen.opacity[:, 0, 5:9, 6:10].mean() > 0.8
    assert seen.opacity[:, 0, 0].mean() < 0.1
    red, green, blue = seen.images[:, :, 5:8, 6:10].mean((0, 2, 3))
    assert red > 2 * green and red > 2 * blue


def test_same_seed_same_bits(prior: ImagePrior) -> None:
    first, second, other = task(prior), task(prior), task(prior, seed=1)
    rows = [[run.step(k) for k in range(3)] for run in (first, second, other)]
    assert rows[0] == rows[1] != rows[2]


def test_resume_is_bit_identical(prior: ImagePrior, tmp_path: Path) -> None:
    def run(folder: str, steps: int, resume: bool = False) -> TextTo3D:
        mine = task(prior)
        optimise(
            mine,
            steps=steps,
            folder=RunFolder.create(tmp_path / folder, mine.config(), resume=resume),
            preview_every=0,
            checkpoint_every=5,
            progress=False,
            resume=resume,
        )
        return mine

    whole = run("whole", 14)
    run("parts", 7)
    parts = run("parts", 14, resume=True)
    for name, tensor in whole.scene.state_dict().items():
        assert torch.equal(tensor, parts.scene.state_dict()[name]), name
    rows = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert rows[0] == rows[1]


def test_nan_stops_with_the_last_good_checkpoint(prior: ImagePrior, tmp_path: Path) -> None:
    run = task(prior)
    original = run.step

    def poisoned(step: int) -> object:
        if step == 7:
            with torch.no_grad():
                next(run.scene.parameters()).fill_(torch.nan)
        return original(step)

    run.step = poisoned  # type: ignore[method-assign, assignment]
    folder = RunFolder.create(tmp_path / "run", run.config())
    with pytest.raises(NonFiniteError, match="step 7") as caught:
        optimise(run, steps=10, folder=folder, preview_every=0, checkpoint_every=5, progress=False)
    assert caught.value.checkpoint_step == 5
    checkpoint = folder.load_checkpoint()
    assert checkpoint is not None and checkpoint[0] == 5


def test_each_view_gets_its_own_prompt(prior: ImagePrior) -> None:
    asked = []

    class Spy(ImagePrior):
        def condition(self, prompts=None):  # type: ignore[no-untyped-def]
            asked.append(prompts)
            return super().condition(prompts)

    spy = Spy(prior.conditional, PixelCodec(), image_size=SIZE)
    run = task(spy, views=4)
    asked.clear()
    run.step(0)
    (prompts,) = [prompts for prompts in asked if prompts is not None]
    names = {prompt.removeprefix("a red mushroom, ") for prompt in prompts}
    assert len(prompts) == 4
    assert names <= {"front view", "side view", "back view", "overhead view"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"views": 0}, "views"),
        ({"shaded": 0.8, "textureless": 0.4}, "at most 1"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextTo3DSettings(**({"prompt": "a cup"} | change))  # type: ignore[arg-type]


def test_unknown_prompt_is_refused_before_the_first_step(prior: ImagePrior) -> None:
    with pytest.raises(ValueError, match="nearest"):
        TextTo3D(prior, TextTo3DSettings("a blue house"))


def test_a_prior_without_views_is_refused_before_the_first_step() -> None:
    images = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    flat = ImagePrior(
        EmpiricalPrior(images, ["a fox", "an owl"]), PixelCodec(), image_size=SIZE, name="icons"
    )
    with pytest.raises(ValueError, match="the prior icons knows no views such as 'front view'"):
        TextTo3D(flat, TextTo3DSettings("a fox"))


def test_settings_are_configurable_in_depth(prior: ImagePrior) -> None:
    run = task(
        prior, levels=LevelRange(0.3, 0.6), cameras=CameraDistribution(overhead_share=0.0), views=1
    )
    run.step(0)
    assert run.config()["levels"]["high"] == 0.6
    assert run.config()["prior"] == "mushrooms"
