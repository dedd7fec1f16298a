"""Training with cameras: what a network begins as, is told, and learns."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from untrained import narrow_codec, narrow_denoiser, untrained_shapes, untrained_views

from scorefield.cameras import Cameras
from scorefield.cli.main import main
from scorefield.priors.loading import load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.training import diffusion, shapes
from scorefield.training.diffusion import (
    CAMERA_RATE,
    DiffusionTask,
    TextToLatents,
    camera_losses,
    turned,
)
from scorefield.training.settings import TrainingSettings
from scorefield.training.text_to_image import TextToImageTask
from scorefield.training.tokenizer import make_tokenizer
from scorefield.training.warm_start import WarmStart
from scorefield.views import camera_vector
from scorefield.world import draw_scene

SETTINGS = TrainingSettings(steps=30, batch_size=8, learning_rate=2e-3, warmup=5)


def vectors(azimuth: Tensor) -> Tensor:
    return camera_vector(Cameras.at(azimuth.tolist(), 20.0))


def asked(module: TextToLatents, cameras: Tensor | None) -> Tensor:
    tokens = make_tokenizer()(["a red chair"] * 2, padding="max_length", return_tensors="pt")
    z = keyed_noise(0, range(2), 0, (4, 16, 16))
    with torch.no_grad():
        value: Tensor = module.eval()(z, torch.tensor([700, 300]), tokens.input_ids, cameras)
    return value


def test_a_warm_start_is_the_old_network_whatever_the_camera(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start, tokenizer = WarmStart(untrained_shapes(tmp_path / "tiny")), make_tokenizer()
    old = asked(start.denoiser(narrow_denoiser(tokenizer), tokenizer), None)
    module = start.denoiser(narrow_denoiser(tokenizer, cameras=True), tokenizer)
    for cameras in (torch.zeros(2, 7), vectors(torch.tensor([0.0, 123.0]))):
        assert torch.equal(asked(module, cameras), old)
    # and the camera is not dropped on the way: with weights, every one has an answer of its own
    torch.nn.init.normal_(module.unet.class_embedding.linear_2.weight)
    front, side = (asked(module, vectors(torch.full((2,), a))) for a in (0.0, 90.0))
    assert float((front - side).abs().amax()) > 1e-3


def test_a_prior_with_cameras_is_a_start_with_them(tmp_path: Path) -> None:
    start, tokenizer = WarmStart(untrained_views(tmp_path / "views")), make_tokenizer()
    module = start.denoiser(narrow_denoiser(tokenizer, cameras=True), tokenizer)
    for name, weight in start.unet.state_dict().items():
        assert torch.equal(module.unet.state_dict()[name], weight)


def test_a_quarter_turn() -> None:
    azimuth = torch.tensor([0.0, 30.0, -100.0])
    torch.testing.assert_close(turned(vectors(azimuth), 90.0), vectors(azimuth + 90))
    none = torch.zeros(2, 7)
    assert torch.equal(turned(none, 90.0), none)
    found = camera_losses(lambda told: told[:, 0].mean(), vectors(torch.zeros(2)))
    assert found["loss_right_camera"] == 1
    assert found["loss_no_camera"] == 0 == pytest.approx(found["loss_turned_camera"], abs=1e-6)


def task(settings: TrainingSettings = SETTINGS, count: int = 64) -> DiffusionTask:
    """Latents that are one pattern from the front and another from the side, and so around."""
    azimuth = 360 / count * torch.arange(count)
    front, side = keyed_noise(1, range(2), 0, (4, 16, 16))
    a = torch.deg2rad(azimuth).reshape(-1, 1, 1, 1)
    means = a.cos() * front + a.sin() * side
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    return DiffusionTask(
        means,
        torch.zeros_like(means),
        ["a red chair"] * count,
        tokenizer,
        settings,
        module=narrow_denoiser(tokenizer, cameras=True),
        cameras=vectors(azimuth),
    )


def test_the_view_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal losses at first, since nothing is known of cameras; later the right one is best."""
    monkeypatch.setattr(diffusion, "_CAMERAS_TRIED_EVERY", SETTINGS.steps - 1)
    training = task()
    metrics = [dict(training.step(step)) for step in range(SETTINGS.steps)]
    told = [one for one in metrics if "loss_right_camera" in one]
    assert [metrics.index(one) for one in told] == [0, SETTINGS.steps - 1]
    first, last = told
    spread = max(first[f"loss_{one}_camera"] for one in ("right", "turned", "no"))
    spread -= min(first[f"loss_{one}_camera"] for one in ("right", "turned", "no"))
    assert last["loss_right_camera"] + 4 * spread < last["loss_no_camera"]
    assert last["loss_no_camera"] + 4 * spread < last["loss_turned_camera"]


def test_views_begin_far_apart() -> None:
    """What the embedding's last layer sees turns a quarter by about its own length."""
    torch.manual_seed(0)
    embedding = TextToLatents(make_tokenizer(), cameras=True).unet.class_embedding
    told = vectors(90.0 * torch.arange(4))
    hidden = embedding.act(embedding.linear_1(told))
    apart = (hidden - hidden.roll(1, 0)).norm(dim=1) / hidden.norm(dim=1)
    assert apart.min() > 0.7


def test_its_embedding_learns_faster() -> None:
    training = task()
    training.step(0)
    rates = {len(group["params"]): group["lr"] for group in training.optimizer.param_groups}
    assert len(rates) == 2
    embedding = len(list(training.module.unet.class_embedding.parameters()))
    assert embedding == 4
    others = rates[len(training.parameters) - embedding]
    assert rates[embedding] == pytest.approx(CAMERA_RATE * others)


def test_a_tenth_is_trained_without_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def errors(self: DiffusionTask, *given: Tensor) -> Tensor:
        seen.append(given[-1])
        return torch.ones(len(given[-1]), requires_grad=True)

    monkeypatch.setattr(DiffusionTask, "_errors", errors)
    training = task()
    for step in range(1, 200):
        training.loss(step, torch.Generator().manual_seed(step))
    none = (torch.cat(seen) == 0).all(1).float()
    assert abs(none.mean().item() - 0.1) < 4 * (0.1 * 0.9 / len(none)) ** 0.5
    assert bool((torch.cat(seen)[none == 0][:, -1] == 1).all())


def test_cameras_and_network_must_agree() -> None:
    tokenizer, latents = make_tokenizer(), torch.zeros(4, 4, 16, 16)
    given = (latents, latents, ["a red chair"] * 4, tokenizer, SETTINGS)
    with pytest.raises(ValueError, match=r"TextToLatents\(..., cameras=True\)"):
        DiffusionTask(*given, module=narrow_denoiser(tokenizer), cameras=torch.zeros(4, 7))
    with pytest.raises(ValueError, match=r"TextToLatents\(..., cameras=False\)"):
        DiffusionTask(*given, module=narrow_denoiser(tokenizer, cameras=True))
    for wrong in (torch.zeros(3, 7), torch.zeros(4, 6), torch.full((4, 7), torch.inf)):
        with pytest.raises(ValueError, match=r"cameras must be finite, of shape \(4, 7\)"):
            DiffusionTask(*given, cameras=wrong)


def test_previews_show_all_sides() -> None:
    tokenizer, latents = make_tokenizer(), torch.zeros(4, 4, 16, 16)
    training = TextToImageTask(
        narrow_codec(),
        latents,
        latents,
        ["a red chair"] * 4,
        tokenizer,
        SETTINGS,
        prompts=["a red chair"] * 5,
        guidance_scale=2.0,
        module=narrow_denoiser(tokenizer, cameras=True),
        cameras=vectors(torch.arange(4.0)),
    )
    sheet = training.preview(0)
    assert sheet.shape[0] == 3
    assert bool(sheet.isfinite().all())


TINY = TrainingSettings(steps=3, batch_size=2, warmup=1)


def test_the_worlds_prior_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a prior of words to one of cameras; a finished training resumes to itself."""
    monkeypatch.setattr(TextToImageTask, "preview", lambda self, step: None)
    monkeypatch.setattr(shapes, "TextToLatents", narrow_denoiser)
    start = untrained_shapes(tmp_path / "tiny")

    def train(resume: bool) -> Path:
        return shapes.train_shapes_with_cameras(
            tmp_path / "out", start=start, count=24, diffusion=TINY, resume=resume, progress=False
        )

    folder = train(resume=False)
    prior = load_prior(folder)
    scenes = [draw_scene(shapes.WORLD_SEED, index) for index in range(24)]
    assert prior.name == "shapes-cameras"
    assert prior.cameras is not None
    elevations = [scene.elevation for scene in scenes]
    assert prior.cameras.elevation == pytest.approx((min(elevations), max(elevations)), abs=0.06)
    assert prior.cameras.fov == (40.0, 40.0)
    assert prior.generate("a red chair", cameras=Cameras.at(0.0), steps=1).isfinite().all()
    with pytest.raises(ValueError, match="does not know 'front'"):
        prior.condition("a red chair, front view")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    train(resume=True)
    assert weights.read_bytes() == before


def test_steps_of_no_codec_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train-prior", "shapes", "--cameras", "--out", str(tmp_path / "out")]
    assert main([*words, "--codec-steps", "3"]) == 2
    assert (
        "--codec-steps is not used by --cameras, which keeps the codec" in capsys.readouterr().err
    )


def test_more_or_less_of_a_training_is_at_high_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tokenizer, codes = make_tokenizer(), keyed_noise(0, range(8), 0, (4, 16, 16))
    settings = TrainingSettings(steps=1, batch_size=64)

    def seen(low_noise: float) -> Tensor:
        module = narrow_denoiser(tokenizer)
        task = DiffusionTask(
            codes,
            torch.zeros_like(codes),
            ["a red chair"] * 8,
            tokenizer,
            settings,
            module=module,
            low_noise=low_noise,
        )
        asked: list[Tensor] = []

        def errors(x: Tensor, eps: Tensor, timestep: Tensor, *told: Tensor | None) -> Tensor:
            asked.append(timestep)
            return x.square().mean((1, 2, 3))

        monkeypatch.setattr(task, "_errors", errors)
        task.loss(0, torch.Generator().manual_seed(0))
        return asked[0] / 1000

    assert abs(float(seen(1.0).mean()) - 1 / 2) < 0.01  # of u^p the mean is 1 / (p + 1)
    assert abs(float(seen(0.5).mean()) - 2 / 3) < 0.01
    assert abs(float(seen(2.0).mean()) - 1 / 3) < 0.01
    with pytest.raises(ValueError, match="low_noise must be positive; got 0"):
        seen(0)


def test_a_curriculum_begins_with_some_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tokenizer, codes = make_tokenizer(), keyed_noise(0, range(8), 0, (4, 16, 16))
    settings = TrainingSettings(steps=9, batch_size=64)

    def task(*curriculum: tuple[int, Tensor]) -> DiffusionTask:
        return DiffusionTask(
            codes,
            torch.zeros_like(codes),
            ["a red chair"] * 8,
            tokenizer,
            settings,
            module=narrow_denoiser(tokenizer, cameras=True),
            cameras=camera_vector(Cameras.at([0.0] * 8)),
            curriculum=curriculum,
        )

    numbers = torch.arange(8)
    chosen = task((2, numbers == 5), (3, numbers % 4 == 1))
    seen: list[set[int]] = []

    def errors(x: Tensor, eps: Tensor, timestep: Tensor, *told: Tensor | None) -> Tensor:
        nearest = (x[:, None] - codes).square().sum((2, 3, 4)).argmin(1)
        seen.append(set(nearest.tolist()))
        return x.square().mean((1, 2, 3))

    monkeypatch.setattr(chosen, "_errors", errors)
    for step in (1, 2, 3):
        chosen.loss(step, torch.Generator().manual_seed(step))
    assert seen == [{5}, {1, 5}, set(range(8))]
    seen.clear()
    chosen.loss(200, torch.Generator().manual_seed(0))  # cameras are tried on the first images
    assert seen == [set(range(8)), {5}, {5}, {5}]
    assert chosen.config()["curriculum"] == [2, 3]
    assert "curriculum" not in task().config()
    with pytest.raises(ValueError, match=r"must have images.*got the ends \[3\], of \[0\] images"):
        task((3, numbers > 8))
    with pytest.raises(ValueError, match=r"end later than the one before; got the ends \[3, 3\]"):
        task((3, numbers > 1), (3, numbers > 0))
    rates = []
    for step in (1, 2, 3):
        monkeypatch.setattr(chosen, "loss", lambda *_: (chosen.parameters[0].sum(), {}))
        chosen.step(step)
        rates.append([group["lr"] for group in chosen.optimizer.param_groups])
    assert [fast / slow for slow, fast in rates] == pytest.approx([15, 15, 1])


def test_what_heeds_its_cameras_is_past_the_curriculum() -> None:
    tokenizer, codes = make_tokenizer(), keyed_noise(0, range(8), 0, (4, 16, 16))
    task = DiffusionTask(
        codes,
        torch.zeros_like(codes),
        ["a red chair"] * 8,
        tokenizer,
        TrainingSettings(steps=9, batch_size=4),
        module=narrow_denoiser(tokenizer, cameras=True),
        cameras=camera_vector(Cameras.at([0.0] * 8)),
        curriculum=[(2, torch.arange(8) == 5)],
        heeds_cameras=True,
    )
    assert "curriculum" not in task.config()
    task.step(0)
    slow, fast = (group["lr"] for group in task.optimizer.param_groups)
    assert fast == slow > 0
