"""Scores of scenes whose answers are known, and the table of a list of prompts."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from small_scenes import small_scenes
from torch import Tensor

from scorefield.images import load_image
from scorefield.integrity import SEAL, write_seal
from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.prior import ImagePrior
from scorefield.sds.judges import ClipJudge, Looks, WorldJudge, parse_prompt
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.evaluation import evaluate_prompts, evaluate_scene
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.views import VIEWS
from scorefield.world import CATEGORIES, COLORS
from scorefield.world.judge import Judge, JudgeNet, Verdict


class Ball(Field):
    """A solid ball of radius 1/2, red where `red(x)`, blue elsewhere."""

    def __init__(self, density: float = 200.0, both: bool = False) -> None:
        super().__init__()
        self.peak_density = density
        self.both = both

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        inside = (0.5 - points.norm(dim=-1)) / 0.03
        red = torch.ones(len(points), dtype=torch.bool) if self.both else points[:, 0] > 0
        colors = torch.where(
            red[:, None], torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
        )
        return self.peak_density * torch.sigmoid(inside), colors


class Red:
    """An image shows the prompt, and a front, if its middle is more red than blue."""

    name = "red"

    def check(self, prompt: str) -> None:
        parse_prompt(prompt)

    def paint(self, prompt: str) -> tuple[float, float, float]:
        return (1.0, 1.0, 1.0)

    def look(self, images: Tensor, prompt: str) -> Looks:
        red = [r > b + 0.5 for r, _, b in images[:, :, 28:36, 28:36].mean((2, 3)).tolist()]
        return Looks(retrieved=red, category=None, color=red, front=red)


def scene(**options: Any) -> RadianceField:
    made = RadianceField(Ball(**options), cells=16)
    made.update_occupancy()
    return made


def test_views_go_round_from_the_front_and_the_mesh_fits() -> None:
    scores = evaluate_scene(scene(), "a red duck", Red(), azimuths=8, resolution=48)
    assert scores.azimuths == [0, 45, 90, 135, 180, 225, 270, 315]
    # Red faces +x; seen from the sides, half is red.
    assert [scores.retrieved[i] for i in (0, 1, 7)] == [True] * 3
    assert [scores.retrieved[i] for i in (3, 4, 5)] == [False] * 3
    assert scores.janus == [False]
    assert scores.geometry == [False] * 8  # bare geometry is not red
    assert scores.category is None and scores.color == scores.retrieved
    # The ball is 19 pixels wide: an error of a quarter of a pixel all around is an IoU of 0.95.
    assert scores.silhouette_iou is not None and scores.silhouette_iou > 0.95


def test_a_front_at_the_back_is_a_janus_face() -> None:
    scores = evaluate_scene(scene(both=True), "a red duck", Red(), azimuths=4, resolution=24)
    assert scores.r_precision == 1.0
    assert scores.janus == [True]


def test_an_empty_scene_has_no_silhouette() -> None:
    scores = evaluate_scene(scene(density=0.0), "a red duck", Red(), azimuths=2, resolution=24)
    assert scores.silhouette_iou is None and scores.retrieved == [False, False]


@pytest.mark.parametrize(
    ("prompt", "parsed"),
    [
        ("a red mushroom", ("mushroom", "red")),
        ("An Orange duck, front view", ("duck", "orange")),
        ("a photo of a cup", ("cup", None)),
    ],
)
def test_prompts_are_parsed(prompt: str, parsed: tuple[str, str | None]) -> None:
    assert parse_prompt(prompt) == parsed


@pytest.mark.parametrize("prompt", ["a corgi", "a red", "a cup on a table", "a red and blue cup"])
def test_a_prompt_that_cannot_be_judged_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="must name one category of mushroom, "):
        parse_prompt(prompt)


class Fixed(Judge):
    """Sees given categories, colours and views."""

    def __init__(self, *rows: tuple[str, str, str]) -> None:
        super().__init__(JudgeNet())
        self.rows = rows

    def __call__(self, images: Tensor) -> Verdict:
        names = zip(*self.rows, strict=True)
        known = (list(CATEGORIES), list(COLORS), list(VIEWS))
        hot = [
            torch.stack([torch.eye(len(all_))[all_.index(name)] for name in seen])
            for seen, all_ in zip(names, known, strict=True)
        ]
        return Verdict(*hot)


def test_the_world_judge_wants_category_and_colour() -> None:
    seen = [
        ("duck", "red", "front view"),
        ("duck", "blue", "side view"),
        ("cup", "red", "back view"),
    ]
    judge, images = WorldJudge(Fixed(*seen)), torch.rand(3, 3, 8, 8)
    looks = judge.look(images, "a red duck")
    assert looks.retrieved == [True, False, False]
    assert looks.category == [True, True, False] and looks.color == [True, False, True]
    assert looks.front == [True, False, False]
    looks = judge.look(images, "a cup")  # no colour is asked for, and a cup has no front
    assert looks.retrieved == looks.category == [False, False, True]
    assert looks.color is None and looks.front is None


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights."""
    return tiny_models.clip_judge(tmp_path_factory.mktemp("clip"))


def test_clip_ranks_the_prompt_among_all(clip_folder: Path) -> None:
    prompts = ["a red cup", "a blue duck", "a green tree"]
    judge = ClipJudge.load(clip_folder, prompts)
    images = torch.rand(6, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    per_prompt = torch.tensor([judge.look(images, prompt).retrieved for prompt in prompts])
    assert (per_prompt.sum(0) == 1).all()  # each image leads to exactly one

    vision, text = judge.model.vision_model, judge.model.text_model
    mean, std = (
        torch.tensor(getattr(judge.processor.image_processor, name)).view(3, 1, 1)
        for name in ("image_mean", "image_std")
    )
    small = torch.nn.functional.interpolate(images, (32, 32), mode="bicubic", antialias=True)
    seen = judge.model.visual_projection(vision((small - mean) / std).pooler_output)
    tokens = judge.processor.tokenizer(prompts, padding=True, return_tensors="pt")
    said = judge.model.text_projection(text(**tokens).pooler_output)
    cosine = torch.nn.functional.normalize(seen) @ torch.nn.functional.normalize(said).T
    assert (per_prompt.int().argmax(0) == cosine.argmax(1)).all()

    with pytest.raises(ValueError, match="not among the 3 prompts"):
        judge.look(images, "a corgi")


def test_a_clip_that_lacks_weights_or_is_not_what_was_sealed(
    clip_folder: Path, tmp_path: Path
) -> None:
    """transformers would make up what is missing."""
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    write_seal(folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.safetensors: is not the file that was sealed"):
        ClipJudge.load(folder, ["a red cup"])
    (folder / SEAL).unlink()
    with pytest.raises(ValueError, match=r"its weights lack visual_projection\.weight"):
        ClipJudge.load(folder, ["a red cup"])


def test_a_missing_clip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no CLIP could be loaded") as error:
        ClipJudge.load(tmp_path, ["a red cup"])
    assert "\n" not in str(error.value)


PROMPTS = ["a red duck", "a blue cup", "a chair"]
SETTINGS = TextTo3DSettings("any", steps=2, views=1, samples=8)
SMALL = {"asset": AssetSettings(mesh_resolution=24, texture=64, frames=2, render_size=16)}


@pytest.fixture(autouse=True)
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    small_scenes(monkeypatch)


@pytest.fixture
def prior() -> ImagePrior:
    things = ("red duck", "blue cup", "green chair")
    words = ("front", "side", "back", "overhead")
    labels = [f"a {thing} {word} view" for thing in things for word in words]
    images = torch.rand(len(labels), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return ImagePrior(EmpiricalPrior(2 * images - 1, labels), PixelCodec(), image_size=8)


def evaluate(prior: ImagePrior, out: Path, **options: Any) -> dict[str, Any]:
    judge = WorldJudge(Judge(JudgeNet()))
    options = {"settings": SETTINGS, "azimuths": 2, **options}
    return evaluate_prompts(PROMPTS, prior, out, judge, progress=False, **SMALL, **options)


def test_the_table_counts_failures_and_resuming_tries_them_again(
    tmp_path: Path, prior: ImagePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = TextTo3D.step, list[tuple[str, int]]()
    trouble: dict[str, BaseException | None] = {"a blue cup": None, "a chair": KeyboardInterrupt()}

    def troubled(self: TextTo3D, number: int) -> Mapping[str, float]:
        prompt = self.settings.prompt
        seen.append((prompt, number))
        if prompt in trouble:
            if error := trouble[prompt]:
                raise error
            return {"loss": float("nan")}
        return step(self, number)

    monkeypatch.setattr(TextTo3D, "step", troubled)
    with pytest.raises(KeyboardInterrupt):
        evaluate(prior, tmp_path)
    assert not (tmp_path / "table.json").exists()

    del trouble["a chair"]
    seen.clear()
    table = evaluate(prior, tmp_path, resume=True)
    assert ("a red duck", 0) not in seen and ("a blue cup", 0) in seen
    assert [row["status"] for row in table["rows"]] == ["done", "failed", "done"]
    assert "not finite" in table["rows"][1]["reason"]
    assert table["rows"][1]["retrieved"] == table["rows"][1]["color"] == [False, False]
    totals = table["totals"]
    assert (totals["prompts"], totals["done"], totals["failed"]) == (3, 2, 1)
    assert totals["retrieved"]["of"] == totals["geometry"]["of"] == 6
    assert totals["color"]["of"] == 4  # "a chair" names none
    assert totals["janus"]["of"] == 2  # duck and chair, one view of the back each
    assert totals["silhouette_iou"]["of"] == 2
    assert json.loads((tmp_path / "table.json").read_text()) == table
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[3].startswith("| a blue cup | failed | 0/2 | 0/2 | 0/2 | 0/2 | - | - |")
    assert any(line.startswith("- a blue cup: failed: loss not finite") for line in lines)

    del trouble["a blue cup"]
    seen.clear()
    table = evaluate(prior, tmp_path, resume=True)
    assert {prompt for prompt, _ in seen} == {"a blue cup"}
    assert table["totals"]["done"] == 3
    # Three rows of two 64-pixel views with a strip of 12 for the words.
    assert load_image(tmp_path / "sheet.png").shape == (3, 3 * 80, 134)


def test_an_evaluation_with_other_settings_is_refused(tmp_path: Path, prior: ImagePrior) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"azimuths": 3}')
    with pytest.raises(ValueError, match="azimuths = 3, now azimuths = 2"):
        evaluate(prior, tmp_path / "other", resume=True)
    with pytest.raises(ValueError, match="is not empty"):
        evaluate(prior, tmp_path / "other")


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "at least one and all different"),
        (["a red duck", "a  red duck"], "at least one and all different"),
        (["a red duck", "a corgi"], "'a corgi' cannot be judged"),
        (["a red duck", "a purple duck"], "no exemplar has all the words"),
    ],
)
def test_prompts_are_refused_before_anything_is_made(
    tmp_path: Path, prior: ImagePrior, prompts: list[str], message: str
) -> None:
    judge = WorldJudge(Judge(JudgeNet()))
    with pytest.raises(ValueError, match=message):
        evaluate_prompts(prompts, prior, tmp_path / "out", judge, SETTINGS, progress=False)
    assert not (tmp_path / "out").exists()
