"""Any damage ends in an error that names the file, or in episodes that are sound."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration_files import (
    ACTIONS,
    FRAMES,
    STATES,
    buffer,
    lerobot,
    numpy_files,
    robomimic,
)

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes, write_episodes
from scorefield.control.data.formats import open_demonstrations


def own(folder: Path) -> Path:
    return write_episodes(
        folder,
        [
            Episode(state, action, {"top": frames}, 10.0)
            for state, action, frames in zip(STATES, ACTIONS, FRAMES, strict=True)
        ],
    )


def format_3(path: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(path), mode="w", zarr_format=3)
    for name, arrays in (("state", STATES), ("action", ACTIONS), ("img", FRAMES)):
        root.create_array(f"data/{name}", data=np.concatenate(arrays), chunks="auto")
    root.create_array("meta/episode_ends", data=np.cumsum([len(one) for one in STATES]))
    return path


MADE: dict[str, Callable[[Path], Path]] = {
    "own": lambda folder: own(folder / "demos"),
    "lerobot video": lambda folder: lerobot(folder / "demos"),
    "lerobot image": lambda folder: lerobot(folder / "demos", video=False),
    "zarr": lambda folder: buffer(folder / "demos.zarr"),
    "zarr zip": lambda folder: buffer(folder / "demos.zarr.zip"),
    "zarr 3": lambda folder: format_3(folder / "demos.zarr"),
    "numpy": lambda folder: numpy_files(folder / "demos"),
    "robomimic": lambda folder: robomimic(folder / "demos.hdf5"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("made")
    there: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in there:
            (folder / kind).mkdir()
            there[kind] = MADE[kind](folder / kind)
        return there[kind]

    return of


def copied(path: Path, folder: Path) -> Path:
    target = folder / path.name
    if target.is_dir():
        shutil.rmtree(target)
    return Path(
        shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, folder / path.name)
    )


def files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damages one file, and says how."""
    file = files(path)[rng.integers(len(files(path)))]
    data = bytearray(file.read_bytes())
    kind = ("flip", "flip", "flip many", "cut", "empty", "gone", "noise")[rng.integers(7)]
    if kind.startswith("flip") and data:
        count = 1 if kind == "flip" else 1 + len(data) // 50
        for place in rng.integers(len(data), size=count):
            data[place] ^= 1 << rng.integers(8)
    elif kind == "cut":
        del data[rng.integers(max(1, len(data))) :]
    elif kind == "empty":
        data.clear()
    elif kind == "noise":
        data[:] = rng.integers(256, size=len(data), dtype=np.uint8).tobytes()
    file.write_bytes(data)
    if kind == "gone":
        file.unlink()
    return f"{kind} {file.relative_to(path.parent)}"


def read(path: Path) -> Episodes | str:
    """The episodes, or the error."""
    try:
        data = open_demonstrations(path)
        episodes = Episodes.of(data.read(data.choose()))
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return str(error)
    assert np.isfinite(episodes.state).all() and np.isfinite(episodes.action).all()
    assert len({len(array) for array in episodes[0].arrays().values()}) == 1
    return episodes


def damaged(path: Path, folder: Path, seeds: range) -> Iterator[Episodes | str]:
    for seed in seeds:
        told = damage(copy := copied(path, folder), np.random.default_rng(seed))
        try:
            yield read(copy)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {told}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("kind", MADE)
def test_damage_is_named(kind: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    assert isinstance(read(made(kind)), Episodes)
    refused = [one for one in damaged(made(kind), tmp_path, range(12)) if isinstance(one, str)]
    assert refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_much_damage_is_named(kind: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    refused = [one for one in damaged(made(kind), tmp_path, range(400)) if isinstance(one, str)]
    assert len(refused) > 100


def edited(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A JSON file with another content."""

    def edit(path: Path) -> None:
        content = json.loads((path / file).read_text(encoding="utf-8"))
        (path / file).write_text(json.dumps(change(content)), encoding="utf-8")

    return edit


VALUES = [None, True, -1, 0, 2.5, 10**12, "x", [], {}, [None], [-1], [10**12], {"a": 1}]


def everywhere(content: Any) -> Iterator[Any]:
    """The content with each of its values lost or replaced, one at a time."""
    places = list(content) if isinstance(content, dict) else range(len(content))
    for place in places:
        for value in VALUES:
            changed = json.loads(json.dumps(content))
            changed[place] = value
            yield changed
        lost = json.loads(json.dumps(content))
        del lost[place]
        yield lost
        if isinstance(content[place], dict | list):
            for inner in everywhere(content[place]):
                changed = json.loads(json.dumps(content))
                changed[place] = inner
                yield changed


JSONS = {
    "own": "episodes.json",
    "lerobot video": "meta/info.json",
    "zarr": "data/state/.zarray",
    "zarr 3": "data/action/zarr.json",
}


def replaced(kind: str, path: Path, folder: Path, every: int) -> Iterator[Episodes | str]:
    content = json.loads((path / JSONS[kind]).read_text(encoding="utf-8"))
    for number, changed in enumerate(everywhere(content)):
        if number % every:
            continue
        edited(JSONS[kind], lambda _, changed=changed: changed)(copy := copied(path, folder))
        try:
            yield read(copy)
        except Exception as error:
            raise AssertionError(f"{changed}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("kind", JSONS)
def test_values_of_descriptions(kind: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    refused = [one for one in replaced(kind, made(kind), tmp_path, 31) if isinstance(one, str)]
    assert refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", JSONS)
def test_all_values_of_descriptions(kind: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    refused = [one for one in replaced(kind, made(kind), tmp_path, 1) if isinstance(one, str)]
    assert len(refused) > 20


def spoiled(array: np.ndarray) -> Iterator[Any]:
    """The array with other shapes, dtypes and values; None is for lost."""
    yield None
    yield array[:-1]
    yield np.concatenate([array, array[:1]])
    yield array[..., None]
    yield array.reshape(len(array), -1)[:, :0]
    if array.ndim > 1:
        yield array.reshape(-1)
    yield np.full(array.shape, "x", dtype="S1")
    yield np.array(0.0)
    yield np.zeros((0, *array.shape[1:]), array.dtype)
    if array.dtype.kind == "f":
        for value in (np.nan, np.inf, 1e300):
            changed = array.astype(np.float64)
            changed[-1] = value
            yield changed


@pytest.mark.parametrize("demo", ["demo_7", pytest.param("demo_0", marks=pytest.mark.slow)])
def test_arrays_of_hdf5(demo: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for key in ("actions", "obs/object", "obs/robot0_eef_pos", "obs/agentview_image"):
        with h5py.File(made("robomimic"), "r") as file:
            array = file[f"data/{demo}/{key}"][:]
        for changed in spoiled(array):
            copy = copied(made("robomimic"), tmp_path)
            with h5py.File(copy, "a") as file:
                del file[f"data/{demo}/{key}"]
                if changed is not None:
                    file[f"data/{demo}/{key}"] = changed
            told = read(copy)
            images = key.endswith("image") or demo == "demo_0"
            assert isinstance(told, str) or images, (key, demo, changed)


def test_arrays_of_zarr(made: Callable[[str], Path], tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    for key in ("data/action", "data/state", "meta/episode_ends"):
        array = zarr.open_array(str(made("zarr")), path=key, mode="r")[:]
        for changed in spoiled(array):
            copy = copied(made("zarr"), tmp_path)
            shutil.rmtree(copy / key)
            if changed is not None:
                group = zarr.open_group(str(copy), mode="a", zarr_format=2)
                group.create_array(key, data=changed)
            told = read(copy)
            lost = key == "data/state" and changed is None  # then images are all there is
            assert isinstance(told, str) or lost, (key, changed)


@pytest.mark.parametrize("part", ["data", pytest.param("meta/episodes", marks=pytest.mark.slow)])
def test_columns_of_lerobot(part: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    name = f"{part}/chunk-000/file-000.parquet"
    table = parquet.read_table(made("lerobot video") / name)
    for key in table.column_names:
        index = table.column_names.index(key)
        kept = table.column(key).to_pylist()
        lists = isinstance(kept[0], list)
        columns = [
            arrow.array(["x"] * len(table)),
            arrow.array([None] * len(table), arrow.float64()),
            arrow.array([[None]] * len(table), arrow.list_(arrow.float64())),
            arrow.array([*kept[:-1], None]),
            arrow.array([[kept[0]] * 2] * len(table)),
            arrow.array([*kept[:-1], [float("nan")] * len(kept[0]) if lists else -7]),
        ]
        changes = [table.set_column(index, key, column) for column in columns]
        for changed in (*changes, table.drop_columns([key])):
            copy = copied(made("lerobot video"), tmp_path)
            parquet.write_table(changed, copy / name)
            told = read(copy)
            optional = key in ("frame_index", "timestamp") and key not in changed.column_names
            assert isinstance(told, str) or optional, (key, changed.column(index))
