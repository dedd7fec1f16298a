"""Data sets in parts: read in any order, written once, by whoever is there to do it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from safetensors.numpy import load_file
from tiny_data_sets import as_shards, as_tables, image_folder

from scorefield.cli import loading
from scorefield.cli.main import main
from scorefield.perception.fleet.engines import Task, _Crew
from scorefield.perception.fleet.part_files import Report, part_report, part_rows, write_part
from scorefield.perception.fleet.parts import Part, parts_of
from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.prior import ImagePrior

COUNT = 11


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images in each of the layouts."""
    where = tmp_path_factory.mktemp("sets")
    images = image_folder(where / "images", COUNT)
    return {
        "imagefolder": images,
        "webdataset": as_shards(images, where / "shards", of=7),
        "parquet": as_tables(images, where / "tables", of=8, group=3),
    }


def contents(parts: list[Part]) -> list[bytes]:
    return [one.content() for part in parts for one in part.labelled()]


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "parquet"])
@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_parts_are_the_data_set(folders: dict[str, Path], kind: Any, size: int) -> None:
    wanted = [path.read_bytes() for path in sorted(folders["imagefolder"].rglob("*.png"))]
    parts = parts_of(kind, folders[kind], "", size)
    assert contents(parts) == wanted
    assert [part.name for part in parts] == sorted({part.name for part in parts})
    assert all(part.count <= size and len(contents([part])) == part.count for part in parts)
    # any of them by itself, as a worker takes it
    assert contents(parts[::-1][:1]) == wanted[-parts[-1].count :]


def test_what_changes_changes_its_part_alone(tmp_path: Path) -> None:
    folder = image_folder(tmp_path, 6)
    (folder / "0" / "._00000.png").write_text("what macOS leaves")
    before = [part.version for part in parts_of("imagefolder", folder, "", 2)]
    assert len(before) == 3
    os.utime(folder / "1" / "00003.png", ns=(1, 1))
    after = [part.version for part in parts_of("imagefolder", folder, "", 2)]
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there are no images .*empty: it is empty"):
        parts_of("imagefolder", folder, "empty", 2)


def test_a_damaged_shard_ends_early(folders: dict[str, Path], tmp_path: Path) -> None:
    shards = as_shards(folders["imagefolder"], tmp_path / "shards", of=7)
    first = shards / "000.tar"
    starts = [part.start for part in parts_of("webdataset", shards, "000", 1)]
    first.write_bytes(first.read_bytes()[: starts[5] + 2000])  # within the sixth image
    parts = parts_of("webdataset", shards, "", 3)
    assert [part.count for part in parts] == [3, 2, 0, 3, 1]
    with pytest.raises(ValueError, match=r"000\.tar: cannot be read as a shard"):
        contents([parts[2]])
    whole = contents(parts_of("webdataset", folders["webdataset"], "", 3))
    assert contents([*parts[:2], *parts[3:]]) == [*whole[:5], *whole[7:]]


def test_a_damaged_table_is_a_part_that_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    tables = as_tables(folders["imagefolder"], tmp_path / "tables", of=8, group=3)
    (tables / "000.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    parts = parts_of("parquet", tables, "", 100)
    assert [part.count for part in parts] == [0, 3]
    with pytest.raises(ValueError, match=r"000\.parquet: cannot be read as a Parquet file"):
        contents(parts[:1])


def test_a_file_of_results(tmp_path: Path) -> None:
    path = tmp_path / "part-0.parquet"
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    good = {"image": "a", "digest": "00", "map": array, "odds": {"x": 0.5}, "shares": [1.0]}
    bad = {"image": "b", "digest": "01", "error": "it is torn"}
    columns = {"map": (1, 2, 3), "odds": dict, "shares": list}
    report = write_part(path, "key", columns, iter([[good, bad], [good]]))
    assert report == part_report(path) == Report("key", 3, 1, ("b (it is torn)",))
    rows = list(part_rows(path, "image", "odds", "shares", "error"))
    assert rows[0] == {"image": "a", "odds": {"x": 0.5}, "shares": [1.0], "error": None}
    assert rows[1] == {"image": "b", "odds": None, "shares": None, "error": "it is torn"}
    column = parquet.read_table(path).column("map").combine_chunks()
    assert column.null_count == 1 and column[2].to_numpy().tolist() == array.tolist()

    def fails() -> Iterator[list[dict[str, Any]]]:
        yield [good]
        raise OSError("no disk")

    before = path.read_bytes()
    with pytest.raises(OSError, match="no disk"):
        write_part(path, "other", columns, fails())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    path.write_bytes(before[:-9])
    assert part_report(path) is None


@pytest.fixture
def light_or_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior of two words that costs nothing."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(20, 3, 8, 8, generator=generator) * 0.3
    pictures[10:] += 0.7
    exemplars = EmpiricalPrior(2 * pictures - 1, ["a dark"] * 10 + ["a light"] * 10)
    prior = ImagePrior(exemplars, PixelCodec(), image_size=8)
    monkeypatch.setattr(loading, "prior_of", lambda command: prior)


CLASSIFY = ["classify", "--labels", "dark,light"]


def rows_in(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(out.glob("part-*.parquet")) for row in part_rows(path)]


def over(kind: str, folder: Path, out: Path, *words: str) -> list[str]:
    return ["--data", kind, str(folder), "--out", str(out), "--quiet", *words]


@pytest.mark.usefixtures("light_or_dark")
@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "parquet"])
def test_rows_are_those_of_the_files_by_themselves(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    paths = sorted(folders["imagefolder"].rglob("*.png"))
    # images that go through the network together are the same: four, and what a file has left
    of = {"imagefolder": 8, "webdataset": 7, "parquet": 8}[kind]
    wanted = []
    for first in range(0, len(paths), of):
        out = tmp_path / f"{first}.jsonl"
        words = map(str, paths[first : first + of])
        assert main([*CLASSIFY, *words, "--out", str(out), "--quiet"]) == 0
        wanted += [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert main([*CLASSIFY, *over(kind, folders[kind], tmp_path / "out")]) == 0
    found = rows_in(tmp_path / "out")
    assert len(found) == COUNT and all(row.pop("error") is None for row in found)
    for row in (*found, *wanted):
        del row["image"]
    assert found == wanted


@pytest.mark.usefixtures("light_or_dark")
def test_resuming_does_what_is_missing_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = image_folder(tmp_path / "images", COUNT), tmp_path / "out"
    torn = folder / "0" / "00001.png"
    torn.write_bytes(torn.read_bytes()[:60])
    words = [*CLASSIFY, *over("imagefolder", folder, out, "--images-per-file", "4")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "1 of 11 images could not be read: 0/00001.png: cannot be read" in said
    files = sorted(out.glob("part-*.parquet"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert len(files) == 3

    def state() -> dict[Path, tuple[bytes, int]]:
        found = sorted(out.glob("part-*.parquet"))
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}

    assert main(words) == 2  # not empty
    files[1].unlink()
    (out / ".part-00000-00001-killed").write_text("what a writer that was killed leaves")
    assert main([*words, "--resume"]) == 1
    after = state()
    assert [path.name for path in out.glob(".*")] == []
    assert [after[path] == before[path] for path in files] == [True, False, True]
    assert [after[path][0] == before[path][0] for path in files] == [True] * 3
    assert main([*words, "--resume"]) == 1 and state() == after  # and nothing twice

    torn.write_bytes((folder / "0" / "00002.png").read_bytes())  # is whole now
    for path in sorted(folder.rglob("*.png"))[8:]:
        path.unlink()  # the third part is no more
    assert main([*words, "--resume"]) == 0
    assert [path in state() for path in files] == [True, True, False]
    assert state()[files[1]] == after[files[1]]
    pictures = [row["image"] for row in rows_in(out)]
    assert pictures == [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.png"))]

    assert main([*words, "--resume", "--seed", "1"]) == 2
    assert "it was made with seed = 0, now seed = 1" in capsys.readouterr().err
    assert main([*words, "--resume", "--images-per-file", "8"]) == 2


@pytest.mark.usefixtures("light_or_dark")
def test_damaged_shards_are_named_and_skipped(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = as_shards(folders["imagefolder"], tmp_path / "shards", of=7)
    (shards / "000.tar").write_bytes(b"no shard at all" * 100)
    words = ["rank", "--text", "a light", *over("webdataset", shards, tmp_path / "out")]
    assert main([*words, "--json"]) == 1
    told = capsys.readouterr()
    assert "1 of 5 images could not be read" in told.err and "000.tar" in told.err
    outcome = json.loads(told.out)
    assert outcome["images"] == 5 and outcome["damaged"] == 1
    scores = [row["score"] for row in rows_in(tmp_path / "out") if row["score"] is not None]
    assert [row["score"] for row in outcome["best"]] == sorted(scores, reverse=True)


@pytest.mark.slow
def test_features_and_masks_are_those_of_the_files(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    paths = sorted(folders["imagefolder"].rglob("*.png"))[:3]
    tables = as_tables(folders["imagefolder"], tmp_path / "tables", of=3, group=2)
    (tables / "001.parquet").unlink()
    own = ["--prior", "digits", "--device", "cpu"]
    common = ["features", *own, "--ensemble", "2"]
    assert main([*common, *map(str, paths), "--out", str(tmp_path / "f"), "--quiet"]) == 0
    assert main([*common, *over("parquet", tables, tmp_path / "fd", "--split", "000")]) == 0
    table = parquet.read_table(tmp_path / "fd" / "part-00000-00000.parquet")
    for i, path in enumerate(paths):
        for name, map_ in load_file(tmp_path / "f" / f"{path.stem}.safetensors").items():
            assert table.column(name).combine_chunks()[i].to_numpy().tobytes() == bytes(map_)
    common = ["segment", *own, "--method", "kmeans", "-k", "2"]
    assert main([*common, *map(str, paths), "--out", str(tmp_path / "s"), "--quiet"]) == 0
    assert main([*common, *over("parquet", tables, tmp_path / "sd", "--split", "000")]) == 0
    for row, path in zip(rows_in(tmp_path / "sd"), paths, strict=True):
        assert row["labels"] == (tmp_path / "s" / f"{path.stem}-labels.png").read_bytes()
        assert row["regions"] == 2 and sum(row["shares"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.png"], "IMAGE and --data are two sources"),
        (["--workers", "2"], "--workers is not used by --engine local"),
        (["--engine", "ray", "--gpus-per-worker", "1.5"], "must be a whole number"),
        (["--engine", "ray", "--gpus-per-worker", "1", "--device", "cpu"], "contradict"),
        (["--engine", "ray", "--device", "cuda"], "contradict"),
    ],
)
def test_refusals(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*CLASSIFY, *over("imagefolder", tmp_path, tmp_path / "out"), *words]
    assert main(command) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_sources_and_results_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        ([], "no image is given; name one or several files, or a data set with --data"),
        (["a.png", "--engine", "ray"], "--engine is not used by IMAGE, only by --data"),
        (["--data", "parquet", "."], "--data needs --out"),
    ):
        assert main([*CLASSIFY, *words]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_an_address_of_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = over("imagefolder", tmp_path, tmp_path / "out", "--engine", "ray")
    begun = time.monotonic()
    assert main([*CLASSIFY, *words, "--address", "127.0.0.1:9"]) == 2
    assert time.monotonic() - begun < 20
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing answers at 127.0.0.1:9" in line and not (tmp_path / "out").exists()


class Dead(Exception):
    pass


class Raised(Exception):
    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Told:
    """Of Ray what a crew needs: it answers at once, in the order in which it was asked."""

    class exceptions:
        RayError = (Dead, Raised)
        RayTaskError = Raised

    @staticmethod
    def wait(awaited: list[Any]) -> tuple[list[Any], list[Any]]:
        return awaited[:1], awaited[1:]

    @staticmethod
    def get(awaited: Callable[[], Any]) -> Any:
        return awaited()


class Asked:
    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer

    def remote(self, *given: Any) -> Callable[[], Any]:
        return lambda: self._answer(*given)


class Hand:
    """A worker that dies at some parts, as often as is said."""

    hired = 0

    def __init__(self, deadly: dict[str, int]) -> None:
        self._deadly, self._alive = deadly, True
        self.prepare, self.write = Asked(lambda: self._do("prepare")), Asked(self._write)
        Hand.hired += 1

    def _do(self, name: str) -> Any:
        assert self._alive, "the dead are not asked"
        if self._deadly.get(name, 0) > 0:
            self._deadly[name] -= 1
            self._alive = False
            raise Dead
        return {"seed": 0}

    def _write(self, task: Task) -> Report:
        self._do(task.part.name)
        if task.part.name == "wrong":
            raise Raised(ValueError("no such layer"))
        return Report(task.key, 1)


def crew_writes(deadly: dict[str, int], *names: str, size: int = 2) -> dict[str, bool]:
    """The parts in the order in which they were settled, and whether they were done."""
    crew = _Crew(Told, lambda: Hand(deadly), size)
    assert crew.prepare() == {"seed": 0}
    tasks = [
        Task(Part(name, "parquet", Path("x"), 0, 1, (), ""), Path(name), name) for name in names
    ]
    found = list(crew.write(tasks))
    assert len(found) == len(names)  # nothing twice
    return {task.part.name: report is not None for task, report in found}


def test_a_crew_loses_nothing() -> None:
    names = [f"{i}" for i in range(7)]
    done = dict.fromkeys(names, True)
    assert crew_writes({}, *names) == done
    assert crew_writes({}, *names, size=20) == done
    assert crew_writes({"prepare": 2, "3": 2, "6": 1, "0": 2}, *names) == done
    assert crew_writes({"3": 2}, *names, size=1) == done


def test_a_part_that_kills_its_workers_is_left_out() -> None:
    assert crew_writes({"1": 99}, "0", "1", "2") == {"0": True, "1": False, "2": True}
    with pytest.raises(RuntimeError, match="the workers of Ray die"):
        crew_writes(dict.fromkeys("12345", 99), *"12345")
    with pytest.raises(RuntimeError, match="the workers of Ray die"):
        crew_writes({"prepare": 99}, "0")


def test_what_a_worker_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="no such layer"):
        crew_writes({}, "0", "wrong", "1")
