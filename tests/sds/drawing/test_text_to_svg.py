"""Text to SVG on a prior of two images: it draws, repeats, resumes and refuses bad input."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.images import load_image
from scorefield.priors import EmpiricalPrior, ImagePrior, PixelCodec
from scorefield.runs import RunFolder, optimise
from scorefield.sds.judges import Looks
from scorefield.sds.svg import (
    Augmentation,
    Icon,
    PixelArt,
    Sketch,
    TextToSvg,
    TextToSvgSettings,
    text_to_svg,
)
from scorefield.sds.svg.economy import economy
from scorefield.sds.svg.evaluation import evaluate_drawings
from scorefield.sds.svg.trace import rank_by_prior
from scorefield.sds.vector import DiffvgRasterise, load_svg

pytest.importorskip("resvg_py")
SIZE = 16


def disc(colour: tuple[float, float, float]) -> Tensor:
    """A disc in the middle of white paper."""
    at = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    inside = (at[:, None].square() + at.square() < 0.3**2).float()
    return 1 - inside * (1 - torch.tensor(colour))[:, None, None]


@pytest.fixture(scope="module")
def prior() -> ImagePrior:
    """Red discs and blue ones, of slightly different tones."""
    tones = torch.linspace(0, 0.2, 4).tolist()
    pictures = [disc((1.0 - t, 0.0, 0.0)) for t in tones] + [
        disc((0.0, 0.0, 1.0 - t)) for t in tones
    ]
    labels = ["red"] * 4 + ["blue"] * 4
    empirical = EmpiricalPrior(2 * torch.stack(pictures) - 1, labels)
    return ImagePrior(empirical, PixelCodec(), image_size=SIZE, name="discs")


def settings(**changes: object) -> TextToSvgSettings:
    plain = Augmentation(crop=1.0, distortion=0.0)
    given: dict[str, object] = {
        "style": Icon(paths=4),
        "template": "{}",
        "scale": 1.0,
        "start": "layers",
        "trace_steps": 20,
        "steps": 20,
        "respawn_every": 7,
        "augmentation": plain,
    }
    return TextToSvgSettings("red", **(given | changes))  # type: ignore[arg-type]


def distance(image: Tensor, colour: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> float:
    """Root mean square distance to the disc of that colour."""
    wanted = disc(colour)
    size = image.shape[-1]
    large = torch.nn.functional.interpolate(wanted[None], (size, size), mode="bilinear")[0]
    return float((image - large).square().mean().sqrt())


def run(task: TextToSvg) -> TextToSvg:
    for step in range(task.settings.updates):
        metrics = task.step(step)
        assert all(torch.isfinite(torch.as_tensor(figure)) for figure in metrics.values())
    return task


def test_distillation_alone_turns_random_circles_towards_the_disc(prior: ImagePrior) -> None:
    """From the same random circles, "red" and "blue" end nearer to their own disc."""
    for prompt, colour, other in (
        ("red", (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        ("blue", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    ):
        given = settings(samples=0, steps=40, style=Icon(paths=8), respawn_every=0)
        given = TextToSvgSettings(**{**vars(given), "prompt": prompt})
        task = TextToSvg(prior, given)
        before = distance(task.drawing.render(64).detach(), colour)
        run(task)
        after = task.drawing.render(64).detach()
        assert distance(after, colour) < 0.9 * before
        assert distance(after, colour) < distance(after, other)


def test_a_traced_sample_is_drawn(prior: ImagePrior) -> None:
    task = run(TextToSvg(prior, settings()))
    assert task.target is not None and len(task.drawing.shapes) == 4
    assert distance(task.target) < 0.1
    assert distance(task.drawing.render(64).detach()) < 0.15


def test_the_best_sample_is_the_one_that_fits_the_prompt(prior: ImagePrior) -> None:
    """Of a blue and a red disc the prompt red chooses the red one, at any seed."""
    images = torch.stack([disc((0, 0, 1)), disc((1, 0, 0))])
    for seed in range(3):
        assert rank_by_prior(prior, "red", images, seed).argmax() == 1
        assert rank_by_prior(prior, "blue", images, seed).argmax() == 0


def test_pixel_art_starts_from_the_sample_and_keeps_its_grid(prior: ImagePrior) -> None:
    task = TextToSvg(prior, settings(style=PixelArt(grid=8), steps=3))
    assert task.settings.updates == 3
    run(task)
    assert len(task.drawing.shapes) == 64
    assert distance(task.drawing.render(64).detach()) < 0.2


def test_traced_pixel_art_has_few_colours_that_stay_shared(prior: ImagePrior) -> None:
    task = run(TextToSvg(prior, settings(style=PixelArt(grid=16), start="traced", steps=3)))
    fills = {tuple(shape.fill.tolist()) for shape in task.drawing.shapes}
    assert 1 <= len(fills) <= 3 and len(task.drawing.shapes) < 40
    assert distance(task.drawing.render(64).detach()) < 0.15


def test_a_sketch_stays_black(prior: ImagePrior) -> None:
    task = run(TextToSvg(prior, settings(style=Sketch(paths=3, segments=2), steps=5)))
    assert task.target is None and len(task.drawing.shapes) == 3
    image = task.drawing.render(64)
    assert torch.allclose(image[0], image[1], atol=1e-5)


def test_a_drawing_starts_from_a_file_and_keeps_its_shapes(prior: ImagePrior) -> None:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g>'
        '<circle cx="12" cy="12" r="6" fill="#00ff00"/></g>'
        '<rect x="1" y="1" width="3" height="3" fill="#888888"/></svg>'
    )
    task = TextToSvg(prior, settings(start=text, steps=30))
    before = distance(task.drawing.render(64).detach())
    run(task)
    assert len(task.drawing.shapes) == 2
    assert distance(task.drawing.render(64).detach()) < before
    with pytest.raises(ValueError, match="no shapes"):
        TextToSvg(
            prior, settings(start='<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>')
        )


@pytest.mark.parametrize("stop", [4, 12])
def test_resume_is_bit_identical(prior: ImagePrior, tmp_path: Path, stop: int) -> None:
    """Stopped while tracing, and before and after paths were replaced."""

    def go(folder: str, steps: int, resume: bool = False) -> TextToSvg:
        task = TextToSvg(prior, settings(trace_steps=8, steps=8, respawn_every=3))
        optimise(
            task,
            steps=steps,
            folder=RunFolder.create(tmp_path / folder, task.config(), resume=resume),
            preview_every=0,
            checkpoint_every=2,
            progress=False,
            resume=resume,
        )
        return task

    whole = go("whole", 16)
    go("parts", stop)
    resumed = go("parts", 16, resume=True)
    for kind in ("points", "widths", "colours"):
        pairs = zip(
            getattr(whole.drawing.parameters(), kind),
            getattr(resumed.drawing.parameters(), kind),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert rows[0] == rows[1]


def test_faint_paths_are_replaced_by_circles_on_top(prior: ImagePrior) -> None:
    task = TextToSvg(prior, settings(samples=0, respawn_every=1, steps=10))
    task.step(0)
    faint = task.drawing.shapes[1]
    with torch.no_grad():
        faint.fill[3] = 0.01  # type: ignore[index]
    others = [shape for shape in task.drawing.shapes if shape is not faint]
    task.step(1)
    assert faint not in task.drawing.shapes
    assert task.drawing.shapes[:3] == others and len(task.drawing.shapes) == 4


def test_what_was_traced_keeps_its_paths_and_moves_at_a_part_of_the_rates(
    prior: ImagePrior,
) -> None:
    moves = []
    for refine_rate in (1.0, 0.25):
        given = settings(
            refine_rate=refine_rate, respawn_every=1, trace_steps=5, steps=4, warmup=0.0
        )
        task = TextToSvg(prior, given)
        for step in range(given.trace_steps):
            task.step(step)
        with torch.no_grad():
            task.drawing.shapes[1].fill[3] = 0.01  # type: ignore[index]
        shapes = task.drawing.shapes
        task.drawing.optimizer.state.clear()  # type: ignore[union-attr]
        before = [point.detach().clone() for point in task.drawing.parameters().points]
        task.step(given.trace_steps)
        after = [point.detach() for point in task.drawing.parameters().points]
        assert task.drawing.shapes == shapes
        moves.append(max(float((b - a).abs().max()) for a, b in zip(before, after, strict=True)))
    # Adam's first step is the rate, whatever the gradient; 1 of 600 is the rate of points.
    assert moves == pytest.approx([1.0, 0.25], rel=0.02)


def test_a_redrawn_sample_moves_and_stays_opaque(prior: ImagePrior, tmp_path: Path) -> None:
    given = settings(start="traced", style=Icon(), steps=6)
    assert given.updates == 6
    task = run(TextToSvg(prior, given))
    (shape,) = task.drawing.shapes
    assert isinstance(shape.fill, Tensor) and float(shape.fill.detach()[3]) == 1.0
    assert distance(task.drawing.render(64).detach()) < 0.1
    written = task.finish(tmp_path)
    text = written["svg"].read_text()
    assert "<title>red</title>" in text and "<desc>" in text and ".red{fill:" in text
    assert "background" not in text
    found = economy(text)
    assert found["half_ink"] == 0 and found["paths"] == 1
    asked = TextToSvg(prior, settings(start="traced", background=True))
    asked.step(0)
    assert 'id="background"' in asked.finish(tmp_path)["svg"].read_text()


def test_a_redrawn_sample_resumes_bit_for_bit(prior: ImagePrior) -> None:
    given = settings(start="traced", steps=4)
    whole, first, second = (TextToSvg(prior, given) for _ in range(3))
    for step in range(4):
        whole.step(step)
    for step in range(2):
        first.step(step)
    second.load_state(first.state())
    for step in range(2, 4):
        second.step(step)
    pairs = zip(whole.drawing.parameters(), second.drawing.parameters(), strict=True)
    for mine, theirs in pairs:
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_given_file_keeps_names_groups_and_unseen_shapes(
    prior: ImagePrior, tmp_path: Path
) -> None:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g id="ball">'
        '<circle id="under" cx="12" cy="12" r="2" fill="#00ff00"/>'
        '<circle id="over" cx="12" cy="12" r="6" fill="#00ff00"/></g></svg>'
    )
    task = run(TextToSvg(prior, settings(start=text, steps=2)))
    written = load_svg(task.finish(tmp_path)["svg"])
    assert [node.name for node in written.nodes()] == ["ball", "under", "over"]


def test_steps_follow_from_the_start() -> None:
    assert settings(steps=0, start="traced").updates == 40
    assert settings(steps=0).updates == 20 + 100
    assert settings(steps=0, samples=0).updates == 500
    assert settings(steps=0, style=PixelArt(8)).updates == 100
    assert settings(steps=0, style=Sketch(2)).updates == 500


def test_one_call_writes_everything(prior: ImagePrior, tmp_path: Path) -> None:
    folder = text_to_svg(prior, settings(), tmp_path / "run", progress=False, size=48)
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "final.svg", "final.png", "making.gif", "traced.png"}
    document = load_svg(folder / "final.svg")
    image = load_image(folder / "final.png")
    assert image.shape == (3, 48, 48)
    assert (document.render(48, 48, torch.ones(3)) - image).abs().mean() < 0.01
    config = json.loads((folder / "config.json").read_text())
    assert config["style"]["name"] == "Icon" and config["prior"] == "discs"
    with pytest.raises(ValueError, match="not empty"):
        text_to_svg(prior, settings(), tmp_path / "run", progress=False)


class Reddish:
    """An image shows the prompt if its middle is red."""

    name = "reddish"

    def check(self, prompt: str) -> None:
        if prompt not in ("red", "blue"):
            raise ValueError(f"{prompt} is no colour")

    def paint(self, prompt: str) -> tuple[float, float, float]:
        return (1.0, 1.0, 1.0)

    def look(self, images: Tensor, prompt: str) -> Looks:
        side = images.shape[-1]
        red, _, blue = images[0, :, side // 2, side // 2].tolist()
        right = [(red > blue) == (prompt == "red")]
        return Looks(retrieved=right, color=right)


def test_a_list_of_prompts_is_drawn_and_judged(prior: ImagePrior, tmp_path: Path) -> None:
    options = {"preview_every": 0, "size": 32}
    given = settings(steps=5)
    table = evaluate_drawings(
        ["red", "blue"], prior, tmp_path / "all", Reddish(), given, progress=False, **options
    )
    assert [row["status"] for row in table["rows"]] == ["done", "done"]
    assert table["totals"]["color"] == {"yes": 2, "of": 2, "share": 1.0}
    assert table["totals"]["category"]["of"] == 0
    assert (
        "| all 2 | 2 done | 2/2 (100%) | - | 2/2 (100%) |"
        in (tmp_path / "all" / "table.md").read_text()
    )
    again = evaluate_drawings(
        ["red", "blue"],
        prior,
        tmp_path / "all",
        Reddish(),
        given,
        resume=True,
        progress=False,
        **options,
    )
    assert again == table  # nothing was drawn again: the seconds are the same
    with pytest.raises(ValueError, match="no colour"):
        evaluate_drawings(["green"], prior, tmp_path / "none", Reddish(), given, progress=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"start": "clouds"}, "traced, layers, random"),
        ({"refine_rate": -0.1}, "at least 0"),
        ({"template": "a flat icon"}, "must hold {}"),
        ({"warmup": 1.5}, "between 0 and 1"),
        ({"clip": -1.0}, "at least 0"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_a_prompt_is_put_in_the_first_way_that_the_prior_knows(prior: ImagePrior) -> None:
    """Discs know no prompt but red and blue: none of the style's ways, but the bare words."""
    assert TextToSvg(prior, settings(template="")).prompt == "red"
    with pytest.raises(ValueError, match="flat red"):
        TextToSvg(prior, settings(template="a flat {}"))


def test_the_backend_can_be_chosen(prior: ImagePrior) -> None:
    pytest.importorskip("pydiffvg")
    task = TextToSvg(prior, settings(rasterise=DiffvgRasterise(), steps=2, trace_steps=2))
    run(task)
