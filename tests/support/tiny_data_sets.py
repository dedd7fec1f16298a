"""The same tiny images as a folder, as shards and as tables."""

import io
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import torch

from scorefield.images import save_image


def image_folder(folder: Path, count: int, labels: int = 3) -> Path:
    """LABEL/NUMBER.png, of noise and several sizes."""
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        image = torch.rand(3, 12, 10 + i % 4, generator=generator)
        save_image(folder / f"{i * labels // count}" / f"{i:05d}.png", image)
    return folder


def as_shards(images: Path, folder: Path, of: int) -> Path:
    """The images in their order, `of` in a shard."""
    folder.mkdir()
    paths = sorted(images.rglob("*.png"))
    for first in range(0, len(paths), of):
        with tarfile.open(folder / f"{first // of:03d}.tar", "w") as shard:
            for path in paths[first : first + of]:
                key = f"{'long/' * 30}{path.stem}"  # a name that takes a header of its own
                for name, raw in ((f"{key}.png", path.read_bytes()), (f"{key}.cls", b"1")):
                    member = tarfile.TarInfo(name)
                    member.size = len(raw)
                    shard.addfile(member, io.BytesIO(raw))
    return folder


def as_tables(images: Path, folder: Path, of: int, group: int) -> Path:
    """The images in their order, `of` in a table, `group` in a group of rows; without labels."""
    folder.mkdir()
    paths = sorted(images.rglob("*.png"))
    for first in range(0, len(paths), of):
        rows = [{"image": {"bytes": path.read_bytes()}} for path in paths[first : first + of]]
        table = pyarrow.Table.from_pylist(rows)
        path = folder / f"{first // of:03d}.parquet"
        pyarrow.parquet.write_table(table, path, row_group_size=group)
    return folder
