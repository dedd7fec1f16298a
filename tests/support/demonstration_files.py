"""Small demonstrations in every format, as other programs write them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

LENGTHS = (4, 6, 3)
RNG = np.random.default_rng(0)
STATES = [RNG.normal(size=(steps, 3)).astype(np.float32) for steps in LENGTHS]
ACTIONS = [RNG.normal(size=(steps, 2)).astype(np.float32) for steps in LENGTHS]
FRAMES = [
    np.full((steps, 16, 24, 3), 40 + 30 * i, dtype=np.uint8)
    + 10 * np.arange(steps, dtype=np.uint8)[:, None, None, None]
    for i, steps in enumerate(LENGTHS)
]


def buffer(path: Path, **changes: Any) -> Path:
    """A replay buffer as diffusion_policy writes it: zarr format 2, images as floats."""
    zarr = pytest.importorskip("zarr")
    arrays = {
        "data/state": np.concatenate(STATES),
        "data/action": np.concatenate(ACTIONS),
        "data/img": np.concatenate(FRAMES).astype(np.float32),
        "meta/episode_ends": np.cumsum(LENGTHS),
        **changes,
    }
    store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else str(path)
    root = zarr.open_group(store, mode="w", zarr_format=2)
    for group in ("data", "meta"):
        root.create_group(group)
    for name, array in arrays.items():
        if array is not None:
            root.create_array(name, data=array, chunks=(5, *array.shape[1:]))
    if path.suffix == ".zip":
        store.close()
    return path


def numpy_files(folder: Path) -> Path:
    """A .npz per episode."""
    folder.mkdir()
    for i, arrays in enumerate(zip(STATES, ACTIONS, FRAMES, strict=True)):
        np.savez(folder / f"{i}.npz", **dict(zip(("state", "action", "top"), arrays, strict=True)))
    return folder


def robomimic(path: Path, change: Callable[[Any], None] = lambda file: None) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_kwargs": {"control_freq": 20}})
        # More than ten, for the order of their names.
        for i in range(11):
            k = i % 3
            demo = data.create_group(f"demo_{i}")
            demo.attrs["num_samples"] = LENGTHS[k]
            demo["actions"] = ACTIONS[k]
            demo["obs/robot0_eef_pos"] = STATES[k][:, :1]
            demo["obs/object"] = STATES[k][:, 1:]
            demo["obs/agentview_image"] = FRAMES[k]
        file["mask/train"] = np.array([b"demo_0", b"demo_1", b"demo_2"])
        change(file)
    return path


def lerobot(
    folder: Path,
    *,
    video: bool = True,
    columns: dict[str, Any] | None = None,
    rows: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
    frames: int | None = None,
) -> Path:
    """Two episodes in one file of data and of video, the third in another file of data."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    name = "observation.images.top"
    image = {"dtype": "video" if video else "image", "shape": [16, 24, 3]}
    described = {
        "codebase_version": "v3.0",
        "fps": 10,
        "features": {
            "observation.state": {"dtype": "float32", "shape": [3]},
            "action": {"dtype": "float32", "shape": [2]},
            name: image,
        },
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        **(info or {}),
    }
    (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(described), encoding="utf-8")
    begins = [0, *np.cumsum(LENGTHS).tolist()]
    table = {
        "episode_index": [0, 1, 2],
        "length": list(LENGTHS),
        "data/chunk_index": [0, 0, 0],
        "data/file_index": [0, 0, 1],
        f"videos/{name}/chunk_index": [0, 0, 0],
        f"videos/{name}/file_index": [0, 0, 0],
        f"videos/{name}/from_timestamp": [begin / 10 for begin in begins[:3]],
        **(rows or {}),
    }
    parquet.write_table(
        arrow.table({key: value for key, value in table.items() if value is not None}),
        folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet",
    )
    for file, numbers in enumerate(((0, 1), (2,))):
        content = {
            "observation.state": [row.tolist() for i in numbers for row in STATES[i]],
            "action": [row.tolist() for i in numbers for row in ACTIONS[i]],
            "episode_index": [i for i in numbers for _ in range(LENGTHS[i])],
            "frame_index": [step for i in numbers for step in range(LENGTHS[i])],
            "timestamp": [step / 10 for i in numbers for step in range(LENGTHS[i])],
        }
        if not video:
            content[name] = [{"bytes": png(one)} for i in numbers for one in FRAMES[i]]
        if file == 0:
            content |= columns or {}
        parquet.write_table(
            arrow.table({key: value for key, value in content.items() if value is not None}),
            folder / "data" / "chunk-000" / f"file-{file:03d}.parquet",
        )
    if video:
        path = folder / "videos" / name / "chunk-000" / "file-000.mp4"
        path.parent.mkdir(parents=True)
        write_video(path, np.concatenate(FRAMES)[:frames])
    return folder


def with_images(folder: Path, features: dict[str, Any]) -> Path:
    """A LeRobot folder with more images in its tables: the mode and colour of each feature."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    lerobot(folder, video=False)
    file = folder / "meta" / "info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    for name, (mode, colour) in features.items():
        shape = [16, 24, 3 if mode == "RGB" else 1]
        info["features"][name] = {"dtype": "image", "shape": shape}
        stream = io.BytesIO()
        Image.new(mode, (24, 16), colour).save(stream, format="png")
        for path in (folder / "data" / "chunk-000").glob("*.parquet"):
            table = parquet.read_table(path)
            cells = arrow.array([{"bytes": stream.getvalue()}] * len(table))
            parquet.write_table(table.append_column(name, cells), path)
    file.write_text(json.dumps(info), encoding="utf-8")
    return folder


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="png")
    return stream.getvalue()


def write_video(path: Path, frames: np.ndarray) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
        stream.bit_rate = 10**7
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
