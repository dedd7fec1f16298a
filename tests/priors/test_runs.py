"""Run folders: what they refuse, and that a checkpoint is whole and exact at every moment."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import scorefield
from scorefield.runs import folder as runs
from scorefield.runs.folder import RunFolder

CONFIG = {"prompt": "a red mushroom", "steps": 10, "seed": 3, "scene": {"steps": 64, "size": 0.5}}


def assert_same(left: Any, right: Any) -> None:
    """Equal in kind, key types, dtype, shape and every bit."""
    if isinstance(left, Tensor):
        assert isinstance(right, Tensor)
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        one, other = (raw(tensor) for tensor in (left, right))
        assert one == other
    elif isinstance(left, dict):
        assert isinstance(right, dict)
        assert [(type(key), key) for key in left] == [(type(key), key) for key in right]
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert type(left) is type(right)
        assert len(left) == len(right)
        for one_item, other_item in zip(left, right, strict=True):
            assert_same(one_item, other_item)
    elif isinstance(left, float):
        assert type(right) is float
        assert struct.pack("d", left) == struct.pack("d", right)
    else:
        assert type(left) is type(right)
        assert left == right


def raw(tensor: Tensor) -> bytes:
    return (
        tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )


# --- making and opening ---


def test_create_writes_the_config_with_the_version(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a" / "run", CONFIG)
    saved = json.loads((folder.path / "config.json").read_text())
    assert saved == {**CONFIG, "scorefield_version": scorefield.__version__}
    assert folder.config == CONFIG


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(ValueError, match="choose another folder, or resume its run"):
        RunFolder.create(tmp_path / "run", CONFIG)


def test_an_empty_folder_is_used_also_when_resuming(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, CONFIG, resume=True).load_checkpoint() is None
    RunFolder.create(tmp_path / "missing", CONFIG, resume=True)


def test_a_kill_before_the_first_config_leaves_a_usable_folder(tmp_path: Path) -> None:
    (tmp_path / ".config.part.json").write_text('{"pro')
    RunFolder.create(tmp_path, CONFIG)
    assert not (tmp_path / ".config.part.json").exists()


def test_a_folder_in_use_by_another_process_is_refused_until_it_ends(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, {})
    code = (
        "import fcntl, os, sys; d = os.open(sys.argv[1], 0); fcntl.flock(d, 2); print(flush=True)"
    )
    owner = [sys.executable, "-c", code + "; sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(owner, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ValueError, match="in use by another run"):
            RunFolder.create(tmp_path, {}, resume=True)
        process.kill()
    RunFolder.create(tmp_path, {}, resume=True)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        RunFolder.create(tmp_path / "file", CONFIG)


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write in .*Not a directory.*choose another"):
        RunFolder.create(tmp_path / "file" / "run", CONFIG)


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(ValueError, match=r"cannot write in .*Permission denied"):
        RunFolder.create(tmp_path / "run", CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"seed = 3, now seed = 4"),
        ({"scene": {"steps": 65, "size": 0.5}}, r"scene.steps = 64, now scene.steps = 65"),
        ({"scene": 1}, r"scene = .*, now scene = 1"),
        ({"extra": None}, r"extra = \(not given\), now extra = null"),
    ],
)
def test_resume_with_other_settings_names_the_first(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    RunFolder.create(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=message):
        RunFolder.create(tmp_path, {**CONFIG, **change}, resume=True)


def test_resume_allows_other_steps_and_saves_them(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, {**CONFIG, "out": "here"})
    RunFolder.create(tmp_path, {**CONFIG, "steps": 20, "preview_every": 5}, resume=True)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 20


def test_the_free_settings_can_be_chosen(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, CONFIG)
    other = {**CONFIG, "scene": {"steps": 1, "size": 0.5}}
    RunFolder.create(tmp_path, other, resume=True, free={"scene.steps"})
    with pytest.raises(ValueError, match="steps = 10, now steps = 11"):
        RunFolder.create(tmp_path, {**other, "steps": 11}, resume=True, free=())


def test_tuples_in_the_settings_equal_the_lists_they_are_saved_as(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, {"range": (0.02, 0.98)})
    RunFolder.create(tmp_path, {"range": (0.02, 0.98)}, resume=True)


@pytest.mark.parametrize("value", [torch.zeros(1), float("nan"), object()])
def test_settings_that_are_not_json_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="must be JSON values"):
        RunFolder.create(tmp_path / "run", {"value": value})
    assert not (tmp_path / "run").exists()


def test_resuming_something_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(ValueError, match=r"no config.json, so it is not a run"):
        RunFolder.create(tmp_path, CONFIG, resume=True)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        RunFolder.create(tmp_path, CONFIG, resume=True)


# --- metrics ---


def test_rows_are_json_with_sorted_keys(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, CONFIG)
    folder.write_row(0, {"z": 1.0, "loss": 0.1})
    folder.write_row(1, {"loss": 0.2, "z": 2.0})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"loss": 0.1, "step": 0, "z": 1.0}\n{"loss": 0.2, "step": 1, "z": 2.0}\n'


def test_a_row_takes_finite_figures_only(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_row(0, {"loss": float("nan")})
    with pytest.raises(ValueError, match="cannot be called 'step'"):
        folder.write_row(0, {"step": 1.0})
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("tail", ["", '{"loss": 1', "\0\0\0\n", "[]\n"])
@pytest.mark.parametrize("step", [0, 2, 4])
def test_truncating_drops_later_and_broken_rows(tmp_path: Path, tail: str, step: int) -> None:
    folder = RunFolder.create(tmp_path, CONFIG)
    folder.truncate_metrics(0)
    for row in range(4):
        folder.write_row(row, {"loss": float(row)})
    file = tmp_path / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    with file.open("a") as end:
        end.write(tail)
    folder.truncate_metrics(step)
    assert file.read_text() == "".join(lines[:step])


# --- the state, there and back ---

_DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.complex128,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(_DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    tensor = (torch.randn(shape, generator=generator, dtype=torch.float64) * 50).to(dtype)
    return tensor.transpose(0, -1) if tensor.dim() > 1 and draw(st.booleans()) else tensor


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | tensors()
)
_STATES = st.dictionaries(
    st.text() | st.integers(),
    st.recursive(
        _LEAVES,
        lambda items: (
            st.lists(items, max_size=3)
            | st.lists(items, max_size=3).map(tuple)
            | st.dictionaries(st.text() | st.integers(), items, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(state=_STATES, step=st.integers(0, 10**6))
def test_any_state_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, state: dict[Any, Any], step: int
) -> None:
    folder = RunFolder.create(tmp_path_factory.mktemp("run"), {})
    folder.save_checkpoint(step, state)
    loaded = folder.load_checkpoint()
    assert loaded is not None
    assert loaded[0] == step
    assert_same(loaded[1], state)


def test_keys_that_look_alike_stay_apart(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    state = {
        1: torch.tensor(1),
        "1": torch.tensor(2),
        "a": {"b": torch.tensor(3)},
        "a.b": torch.tensor(4),
        "dict": {"tensor": "x"},
    }
    folder.save_checkpoint(0, state)
    assert_same(folder.load_checkpoint(), (0, state))


def test_special_numbers_keep_their_bits(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    values = [float("inf"), -float("inf"), -0.0, float("nan"), 5e-324]
    state = {"numbers": values[:3], "tensor": torch.tensor(values, dtype=torch.float64)}
    folder.save_checkpoint(0, state)
    assert_same(folder.load_checkpoint(), (0, state))


def test_tied_and_conjugated_tensors_are_saved(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    tensor = torch.randn(4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    state = {"one": tensor, "tied": tensor[1:], "conjugate": tensor.conj()}
    folder.save_checkpoint(0, state)
    assert_same(folder.load_checkpoint(), (0, state))


@pytest.mark.parametrize(
    "optimiser_class", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop]
)
def test_optimiser_states_come_back_exactly(
    tmp_path: Path, optimiser_class: type[torch.optim.Optimizer]
) -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimiser = optimiser_class(net.parameters(), lr=0.1)
    net(torch.randn(5, 3)).square().sum().backward()
    optimiser.step()
    state = {"net": dict(net.state_dict()), "optimiser": optimiser.state_dict()}
    folder = RunFolder.create(tmp_path, {})
    folder.save_checkpoint(1, state)
    loaded = folder.load_checkpoint()
    assert loaded is not None
    assert_same(loaded[1], state)
    optimiser.load_state_dict(loaded[1]["optimiser"])
    net.load_state_dict(loaded[1]["net"])
    assert_same(optimiser.state_dict(), state["optimiser"])


def test_what_was_loaded_is_apart_from_the_file(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    folder.save_checkpoint(0, {"w": torch.zeros(1000)})
    first = folder.load_checkpoint()
    assert first is not None
    first[1]["w"].add_(1)
    folder.save_checkpoint(1, first[1])
    second = folder.load_checkpoint()
    assert second is not None
    assert second[1]["w"].eq(1).all()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": {1, 2}}}, "state.a.b is a set"),
        ({"a": [0, object()]}, "state.a.1 is a object"),
        ({(1, 2): 0}, r"state has the key \(1, 2\)"),
        ({True: 0}, "state has the key True"),
    ],
)
def test_other_things_in_a_state_are_named(
    tmp_path: Path, state: dict[Any, Any], message: str
) -> None:
    folder = RunFolder.create(tmp_path, {})
    with pytest.raises(ValueError, match=message):
        folder.save_checkpoint(0, state)
    assert folder.load_checkpoint() is None


def test_no_checkpoint_is_none_and_a_damaged_one_an_error(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    assert folder.load_checkpoint() is None
    folder.save_checkpoint(0, {"w": torch.zeros(3)})
    (tmp_path / "checkpoint" / "state.safetensors").write_bytes(b"0")
    with pytest.raises(ValueError, match="cannot be read"):
        folder.load_checkpoint()


@pytest.mark.parametrize("content", [b"\xff{", b"[]", b"", b"[" * 100_000])
def test_settings_that_are_none_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        RunFolder.create(tmp_path, CONFIG, resume=True)


# --- killed while saving ---


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Dies before the moment-th call that changes the disk (from 0)."""
    calls = iter(range(10**6))

    def deadly(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == moment:
                raise Killed
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "rename", deadly(os.rename))
    monkeypatch.setattr(os, "fsync", deadly(os.fsync))
    monkeypatch.setattr(shutil, "rmtree", deadly(shutil.rmtree))
    monkeypatch.setattr(Path, "mkdir", deadly(Path.mkdir))
    monkeypatch.setattr(Path, "write_text", deadly(Path.write_text))
    monkeypatch.setattr(runs, "save_file", deadly(runs.save_file))


@pytest.mark.parametrize("earlier", [0, 1, 2])
def test_killed_at_any_moment_of_a_save_a_whole_checkpoint_is_there(
    tmp_path: Path, earlier: int
) -> None:
    """After every possible kill the old or the new checkpoint is there, and saving works."""
    moment = 0
    finished = False
    outcomes = set()
    while not finished:
        folder = RunFolder.create(tmp_path / str(moment), {})
        for step in range(earlier):
            folder.write_row(step, {"loss": 0.0})
            folder.save_checkpoint(step, {"w": torch.full((3,), step)})
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moment)
            try:
                folder.save_checkpoint(earlier, {"w": torch.full((3,), earlier)})
                finished = True
            except Killed:
                pass
        loaded = RunFolder(folder.path, {}).load_checkpoint()
        step = -1 if loaded is None else loaded[0]
        outcomes.add(step)
        assert step in (earlier - 1, earlier)
        if loaded is not None:
            assert_same(loaded[1], {"w": torch.full((3,), step)})
        folder.save_checkpoint(9, {"w": torch.full((3,), 9)})
        assert_same(folder.load_checkpoint(), (9, {"w": torch.full((3,), 9)}))
        assert not list(folder.path.glob("checkpoint-*"))
        moment += 1
    assert outcomes == {earlier - 1, earlier}
    assert moment > 7


def test_killed_between_the_renames_the_new_checkpoint_is_taken(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    folder.save_checkpoint(1, {})
    os.rename(tmp_path / "checkpoint", tmp_path / "checkpoint-old")
    folder.save_checkpoint(2, {})
    os.rename(tmp_path / "checkpoint", tmp_path / "checkpoint-new")
    folder.path.joinpath("checkpoint-old").mkdir()
    assert folder.load_checkpoint() == (2, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "config.json"]


def test_preview_paths_sort_by_step(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, {})
    paths = [folder.preview_path(step) for step in (5, 50, 1000)]
    assert paths == sorted(paths)
    assert paths[0] == tmp_path / "previews" / "000005.png"
    assert paths[0].parent.is_dir()
