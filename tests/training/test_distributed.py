"""Several processes that train one network: the weights of one, whatever their number."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launching import ACCELERATE, completed, killed_when, launch
from safetensors.torch import load_file
from torch import Tensor
from untrained import narrow_codec, narrow_denoiser

from scorefield.cameras import orbit
from scorefield.cli.main import main
from scorefield.priors.noise import noise_generator
from scorefield.runs.distributed import DistributedContext
from scorefield.runs.folder import RunFolder
from scorefield.training.codec import CodecTask
from scorefield.training.diffusion import DiffusionTask
from scorefield.training.digits import DigitsTask, digits_part
from scorefield.training.judge import JudgeTask
from scorefield.training.motion import MotionTask
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask
from scorefield.training.tokenizer import make_tokenizer
from scorefield.views import camera_vector
from scorefield.world import draw_scene
from scorefield.world.clips import NARROW

SETTINGS = TrainingSettings(steps=4, batch_size=5, warmup=1)


def images() -> Tensor:
    return torch.randint(256, (8, 64, 64, 3), generator=noise_generator(0)).to(torch.uint8)


def codec() -> TrainingTask:
    return CodecTask(images(), SETTINGS, narrow_codec())


def denoiser() -> TrainingTask:
    means = torch.randn(8, 4, 16, 16, generator=noise_generator(1))
    captions = [draw_scene(0, index).caption for index in range(8)]
    tokenizer = make_tokenizer()
    module = narrow_denoiser(tokenizer)
    return DiffusionTask(means, 0.1 * means.abs(), captions, tokenizer, SETTINGS, module=module)


def denoiser_of_views() -> TrainingTask:
    means = torch.randn(8, 4, 16, 16, generator=noise_generator(1))
    captions = [draw_scene(0, index).caption for index in range(8)]
    tokenizer, cameras = make_tokenizer(), camera_vector(orbit(8))
    module = narrow_denoiser(tokenizer, cameras=True)
    return DiffusionTask(
        means, 0.1 * means.abs(), captions, tokenizer, SETTINGS, module=module, cameras=cameras
    )


def judge() -> TrainingTask:
    return JudgeTask(images(), [draw_scene(0, index) for index in range(8)], SETTINGS)


def digits() -> TrainingTask:
    return DigitsTask(digits_part("training"), SETTINGS)


def motion() -> TrainingTask:
    return MotionTask(NARROW, SETTINGS, width=8)


@pytest.mark.parametrize("make", [codec, denoiser, denoiser_of_views, judge, digits, motion])
def test_the_weighted_mean_of_parts_is_that_of_the_batch(
    make: Callable[[], TrainingTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As three processes compute it, one after the other; a batch of 5 has parts of 1, 2 and 2."""
    sums: list[Tensor] = []  # what they would add up for the metrics
    monkeypatch.setattr(DistributedContext, "_add_up", lambda self, tensor: sums.append(tensor))
    task = make()

    def found(index: int, count: int) -> tuple[list[Tensor], float]:
        task.processes.index, task.processes.count = index, count
        task.module.zero_grad()
        loss, _ = task.loss(3, noise_generator(0, 3))
        loss.backward()
        gradients = [p.grad.clone() for p in task.parameters if p.grad is not None]
        rows = task.processes.rows(SETTINGS.batch_size)
        return gradients, (rows.stop - rows.start) / SETTINGS.batch_size

    parts = [found(index, 3) for index in range(3)]
    assert [round(5 * share) for _, share in parts] == [1, 2, 2]
    batch, _ = found(0, 1)
    for number, gradient in enumerate(batch):
        mean = sum(share * gradients[number] for gradients, share in parts)
        # Sums in another order: float32 rounds by 1e-7 of the terms, which cancel in part.
        assert isinstance(mean, Tensor)
        torch.testing.assert_close(mean, gradient, rtol=1e-3, atol=1e-5 * norm_of(batch))
    assert all((one.shape[0] == SETTINGS.batch_size) for one in sums)


def norm_of(gradients: list[Tensor]) -> float:
    return float(torch.cat([g.flatten() for g in gradients]).norm())


def test_one_process_is_by_itself() -> None:
    alone = DistributedContext()
    assert (alone.index, alone.count, alone.first) == (0, 1, True)
    numbers = torch.arange(3.0)
    alone.average([numbers], 1.0)
    assert numbers.tolist() == [0, 1, 2]
    assert alone.own(numbers) is not None and alone.own(numbers).tolist() == [0, 1, 2]
    assert alone.whole(numbers, 3).tolist() == [0, 1, 2]
    alone.wait()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_rows_are_shared_without_gap_or_overlap(count: int) -> None:
    context = DistributedContext()
    context.count = count
    shared: list[int] = []
    for context.index in range(count):
        shared += context.own(torch.arange(7)).tolist()
    assert shared == list(range(7))


def test_more_processes_than_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorefield.runs.distributed._join", lambda device: None)
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ValueError, match="a batch of 5 cannot be shared by 6 processes"):
        digits()


@pytest.mark.parametrize(
    "variables, device, told",
    [
        ({"WORLD_SIZE": "2"}, "cpu", "WORLD_SIZE is 2 and RANK is None: start several processes"),
        ({"WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE is two"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "cuda:1", "cannot share cuda:1; give --device cuda"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "mps", "cannot share mps"),
    ],
)
def test_what_no_launcher_says_is_refused(
    variables: dict[str, str], device: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=told):
        DistributedContext(device)


@pytest.mark.slow
def test_two_processes_train_a_prior_as_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train-prior", "digits", "--steps", "6", "--device", "cpu", "--quiet", "--json"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    alone = capsys.readouterr().out
    together = completed([*words, "--out", str(tmp_path / "two")])
    assert json.loads(together) == json.loads(alone.replace("/one/", "/two/"))  # one of them speaks
    weights, metrics = (
        [of(tmp_path / run / "denoiser") for run in ("one", "two")] for of in (weights_of, rows_of)
    )
    assert weights[0].keys() == weights[1].keys()
    for name, one in weights[0].items():
        # 6 updates of up to 3e-5 that rounded otherwise; 2.7e-7 was found, of a bias that the
        # softmax leaves without a gradient.
        torch.testing.assert_close(weights[1][name], one, rtol=0, atol=2e-6)
    assert [row["step"] for row in metrics[1]] == list(range(6))
    for one, two in zip(*metrics, strict=True):
        assert two == pytest.approx(one, rel=1e-4)

    # The second process dies, all end with one line, and the first launcher's run is gone on with
    # by the other launcher, to the bits of the undisturbed run.
    run = ["--out", str(tmp_path / "three")]
    checkpoint = tmp_path / "three" / "denoiser" / "checkpoint"
    said = killed_when(checkpoint.exists, [*words, *run])
    # torchrun may end the first process before it has noticed
    line = "scorefield: error: another process of this training has ended, killed perhaps; "
    assert said in ([], [line + "the same command with --resume goes on"])
    assert len(rows_of(checkpoint.parent)) < 6
    completed([*words, *run, "--resume"], ACCELERATE)
    resumed = weights_of(tmp_path / "three" / "denoiser")
    assert all(torch.equal(resumed[name], two) for name, two in weights[1].items())
    assert rows_of(tmp_path / "three" / "denoiser") == metrics[1]

    # Both would refuse the folder; one does.
    process = launch([*words, *run])
    said = [line for line in process.communicate()[1].splitlines() if "scorefield:" in line]
    assert len(said) == 1 and f"{run[1]} is not empty" in said[0]


def weights_of(run: Path) -> dict[str, Tensor]:
    """All tensors of the last checkpoint but the optimiser's."""
    state = load_file(run / "checkpoint" / "state.safetensors")
    return {name: value for name, value in state.items() if "optimizer" not in name}


def rows_of(run: Path) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_process_that_sees_another_checkpoint_does_not_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network's disk that shows an old checkpoint, or none, for a while."""
    monkeypatch.setattr("scorefield.runs.distributed._CACHED", 0.0)
    monkeypatch.setattr("scorefield.runs.distributed.time.sleep", lambda seconds: None)
    first = RunFolder.create(tmp_path / "run", {})
    first.save_checkpoint(12, {"weight": torch.ones(2)})
    late = RunFolder.create(tmp_path / "late", {})

    def beside(folder: Path, done: int) -> RunFolder:
        """What the second process is given when the first begins after so many steps."""
        process = DistributedContext()
        process.index = 1
        monkeypatch.setattr(process, "_add_up", lambda tensor: tensor.fill_(done))
        return process.folder(folder)

    found = beside(tmp_path / "run", 1 + 12).load_checkpoint()
    assert found is not None and found[0] == 12
    assert beside(tmp_path / "late", 0).load_checkpoint() is None
    with pytest.raises(ValueError, match=r"process 1 sees no checkpoint in .*, and .* step 12"):
        beside(tmp_path / "late", 1 + 12).load_checkpoint()
    late.save_checkpoint(4, {"weight": torch.ones(2)})
    (tmp_path / "late" / "checkpoint-old").mkdir()  # the first one's to mend
    with pytest.raises(ValueError, match="process 1 sees step 4 in"):
        beside(tmp_path / "late", 1 + 12).load_checkpoint()
    assert (tmp_path / "late" / "checkpoint-old").exists()
