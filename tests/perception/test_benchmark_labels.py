"""Data sets of labelled images: tiny ones in exactly their layouts, answers by hand."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.perception.benchmarks.label_evaluation import _read, label_metrics, name_of
from scorefield.perception.benchmarks.labelled_images import (
    LabelledImage,
    imagefolder_images,
    parquet_images,
    webdataset_images,
)


def png(shade: int) -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(raw, "png")
    return raw.getvalue()


def shade_of(one: LabelledImage) -> int:
    source = one.source()
    with Image.open(source) as opened:
        return int(opened.getpixel((0, 0))[0])


def imagefolder(folder: Path) -> Path:
    for label, shade in (("lamp", 10), ("chair", 20), ("chair", 30)):
        path = folder / "val" / label / f"{shade}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(shade))
    (folder / "val" / "readme.txt").write_text("not an image")
    return folder


def add(shard: tarfile.TarFile, name: str, raw: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(raw)
    shard.addfile(member, io.BytesIO(raw))


def shards(folder: Path) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "val-000.tar", "w") as shard:
        add(shard, "a/0001.png", png(10))
        add(shard, "a/0001.cls", b"1\n")
        add(shard, "a/0002.json", b'{"label": "chair"}')
        add(shard, "a/0002.png", png(20))
    with tarfile.open(folder / "val-001.tar", "w") as shard:
        add(shard, "0003.txt", b"chair")
        add(shard, "0003.seg.png", png(0))  # another extension of the same sample
        add(shard, "0003.png", png(30))
        add(shard, "0004.cls", b"0")
    return folder


def table(folder: Path, named: bool = True) -> Path:
    (folder / "data").mkdir(parents=True)
    rows = [{"image": {"bytes": png(s), "path": f"{s}.png"}, "label": c} for s, c in
            ((10, 1), (20, 0), (30, 0))]  # fmt: skip
    made = pyarrow.Table.from_pylist(rows)
    features = {"label": {"names": ["chair", "lamp"], "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    made = made.replace_schema_metadata(about if named else None)
    pyarrow.parquet.write_table(made, folder / "data" / "val-00000-of-00001.parquet")
    return folder


def test_imagefolder(tmp_path: Path) -> None:
    found = imagefolder_images(imagefolder(tmp_path), "val")
    assert [(one.name, one.label, shade_of(one)) for one in found] == [
        ("chair/20.PNG", "chair", 20),
        ("chair/30.PNG", "chair", 30),
        ("lamp/10.PNG", "lamp", 10),
    ]
    with pytest.raises(ValueError, match=r"a folder for each label.* is missing; it holds val/"):
        imagefolder_images(tmp_path)


def test_shards(tmp_path: Path) -> None:
    found = list(webdataset_images(shards(tmp_path / "data"), "val"))
    assert [(one.name, one.label) for one in found] == [
        ("val-000.tar/a/0001", 1),
        ("val-000.tar/a/0002", "chair"),
        ("val-001.tar/0003", "chair"),
        ("val-001.tar/0004", 0),
    ]
    assert [shade_of(one) for one in found[:3]] == [10, 20, 30]
    with pytest.raises(ValueError, match="0004 has no image, only cls"):
        found[3].source()
    with pytest.raises(ValueError, match=r"no shards \(train\*\.tar\).* it holds val-000.tar"):
        webdataset_images(tmp_path / "data", "train")


def test_tables(tmp_path: Path) -> None:
    found, names = parquet_images(table(tmp_path), "val")
    assert names == ["chair", "lamp"]
    assert [(one.label, shade_of(one)) for one in found] == [(1, 10), (0, 20), (0, 30)]
    with pytest.raises(ValueError, match=r"no files \(train\*\.parquet"):
        parquet_images(tmp_path, "train")


def test_what_labels_are_called() -> None:
    assert name_of(1, ["chair", "lamp"]) == "lamp"
    assert name_of("n01", {"n01": "tench"}) == "tench"
    for label in (2, "cat"):
        with pytest.raises(ValueError, match="none of the 2 names"):
            name_of(label, ["chair", "lamp"])


def test_figures_by_hand() -> None:
    def row(truth: str, *likeliest: str) -> dict[str, object]:
        return {"truth": truth, "likeliest": list(likeliest), "evaluations": 10}

    rows = [row("a", "a", "b"), row("a", "a", "b"), row("a", "b", "a"), row("b", "c", "a")]
    metrics = label_metrics([*rows, {"error": "damaged"}])
    assert metrics["images"] == 4 and metrics["unread"] == 1
    assert metrics["accuracy"] == 0.5 and metrics["top5"] == 0.75
    assert metrics["mean_per_class"] == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "parquet"])
def test_the_command(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    make = {"imagefolder": imagefolder, "webdataset": shards, "parquet": table}[kind]
    folder, out = make(tmp_path / "data"), tmp_path / "out"
    names = tmp_path / "names.json"
    names.write_text('["chair", "lamp"]')
    words = ["evaluate", "classifier", "--data", kind, str(folder), "--split", "val", "--budget",
             "2", "--template", "a {}", "--out", str(out), "--device", "cpu", "--quiet",
             "--prior", str(untrained_shapes(tmp_path / "p"))]  # fmt: skip
    if kind == "webdataset":
        assert main(words) == 2
        assert "shards do not list their labels; give --names" in capsys.readouterr().err
        words += ["--names", str(names)]
    damaged = kind == "webdataset"  # a sample without an image
    assert main([*words, "--json"]) == damaged
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 3 and told["unread"] == damaged
    rows = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()[1:]]
    assert sorted(row["truth"] for row in rows if "truth" in row) == ["chair", "chair", "lamp"]
    before = (out / "images.jsonl").read_text()
    assert main([*words, "--resume"]) == damaged
    assert (out / "images.jsonl").read_text().startswith(before)
    assert "Li et al. 2023" in (out / "report.html").read_text()


def test_what_a_sample_holds_chooses_no_decoder(tmp_path: Path) -> None:
    """Pillow would start other programs for some formats; those that are named are read alone."""
    raw = io.BytesIO()
    Image.new("RGB", (8, 8)).save(raw, "ppm")
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(folder / "val-000.tar", "w") as shard:
        add(shard, "1.png", raw.getvalue())
        add(shard, "1.cls", b"0")
    (one,) = webdataset_images(folder, "val")
    with pytest.raises(ValueError, match=r"val-000\.tar/1: cannot be read as an image"):
        _read(one, 8)


@pytest.mark.parametrize(
    ("name", "text"), [("cls", "²"), ("cls", "9" * 5000), ("json", "[]"), ("json", "[" * 10**5)]
)
def test_odd_labels_are_no_class(name: str, text: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "val-000.tar", "w") as shard:
        add(shard, "1.png", png(0))
        add(shard, f"1.{name}", text.encode())
    (one,) = webdataset_images(tmp_path, "val")
    with pytest.raises(ValueError, match="is none of the 2 names"):
        name_of(one.label, ["chair", "lamp"])


def test_a_sparse_member_is_not_unfolded(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "val-000.tar", "w") as shard:
        about = tarfile.TarInfo("1.png")
        # GNU's way to say that a file of 1 GiB is all holes
        about.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**30)}
        shard.addfile(about, io.BytesIO())
    with pytest.raises(ValueError, match=r"val-000\.tar: cannot be read as a shard"):
        list(webdataset_images(tmp_path, "val"))


def test_damaged_tables_and_shards_are_named(tmp_path: Path) -> None:
    path = table(tmp_path / "tables") / "data" / "val-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"parquet: cannot be read as a Parquet file"):
        parquet_images(tmp_path / "tables", "val")
    shard = shards(tmp_path / "shards") / "val-000.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"val-000\.tar: cannot be read as a shard"):
        list(webdataset_images(tmp_path / "shards", "val"))
