"""Every format that is read: a small file or folder of it, and the reader that commands use.

A damaged file must end in a ValueError of one line that names it, or be read after all.
"""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import added_files
import benchmark_files
import numpy as np
from formats import Format


def _image(suffix: str, mode: str = "RGB") -> Format:
    def make(folder: Path) -> Path:
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 255, (18, 25, 4), dtype=np.uint8)
        image = (
            Image.fromarray(pixels, "RGBA") if mode == "RGBA" else Image.fromarray(pixels[..., 0])
        )
        if mode in ("F", "I;16"):
            values = pixels[..., 0] / np.float32(255)
            image = Image.fromarray(values if mode == "F" else (values * 65535).astype(np.uint16))
        path = folder / f"image.{suffix}"
        (image if suffix != "jpg" else image.convert("RGB")).save(path)
        return path

    def read(path: Path) -> object:
        from scorefield.images import load_image

        return load_image(path, 16)

    return Format(make, read)


def _copied(name: str) -> Callable[[Path], Path]:
    """Of the material, which stands beside the folder."""

    def make(folder: Path) -> Path:
        source = next(folder.parents[1].glob(f"material/{name}"))
        copy = shutil.copytree if source.is_dir() else shutil.copy
        return Path(copy(source, folder / source.name))

    return make


def _unsealed(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from scorefield.integrity import SEAL

        made = _copied(name)(folder)
        (made / SEAL).unlink(missing_ok=True)
        return made

    return make


def _seal(path: Path) -> object:
    from scorefield.integrity import check_seal, write_seal

    write_seal(path)
    return check_seal(path)


def _demonstrations(kind: str) -> Format:
    def make(folder: Path) -> Path:
        import demonstration_files as files

        if kind == "lerobot video":
            return files.lerobot(folder / "demos")
        if kind == "lerobot image":
            return files.lerobot(folder / "demos", video=False)
        if kind == "robomimic":
            return files.robomimic(folder / "demos.hdf5")
        if kind == "numpy":
            return files.numpy_files(folder / "demos")
        return files.buffer(folder / f"demos.{kind}")

    def read(path: Path) -> object:
        from scorefield.control.data.episodes import Episodes
        from scorefield.control.data.formats import open_demonstrations

        data = open_demonstrations(path)
        return Episodes.of(data.read(data.choose()))

    return Format(make, read, 6)


def _mesh(suffix: str) -> Format:
    def make(folder: Path) -> Path:
        import trimesh

        path = folder / f"mesh.{suffix}"
        trimesh.creation.icosphere(subdivisions=1).export(path)
        return path

    def read(path: Path) -> object:
        from scorefield.sds.nerf.texture.user_mesh import load_mesh

        return load_mesh(path)

    return Format(make, read, 6)


def _read_svg(path: Path) -> object:
    from scorefield.sds.vector import load_svg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_svg(path)


def _read_policy(path: Path) -> object:
    from scorefield.control.policies.loading import load_policy

    return load_policy(path)


def _read_prior(path: Path) -> object:
    from scorefield.priors.loading import load_prior

    return load_prior(path)


def _read_start(path: Path) -> object:
    from scorefield.cli.distillation.text_to_svg import _read

    return _read(path)


def _read_judge(path: Path) -> object:
    from scorefield.cli.loading import load_judge

    return load_judge(path / "judge.safetensors")


_RUN = {"prompt": "a cup", "steps": {"n": 2}}


def _read_run(path: Path) -> object:
    from scorefield.gallery.read import read_run
    from scorefield.runs import RunFolder

    read_run(path)
    run = RunFolder.create(path, _RUN, resume=True)
    run.truncate_metrics(10**6)
    return run.load_checkpoint()


def _make_run(folder: Path) -> Path:
    import torch

    from scorefield.runs import RunFolder

    run = RunFolder.create(folder / "run", _RUN)
    for step in range(3):
        run.write_row(step, {"loss": 1.0 / (1 + step)})
    run.preview_path(2).write_bytes(b"")
    run.save_checkpoint(3, {"a": torch.ones(2), 1: [torch.zeros(1, dtype=torch.int64), {"b": 2.0}]})
    (run.path / "table.md").write_text("| a | b |\n|---|---|\n| 1 | 2 |\n")
    return run.path


def _read_prompts(path: Path) -> object:
    from scorefield.cli.evaluate.judging import read_prompts

    return read_prompts(path)


def _read_sweep(path: Path) -> object:
    from scorefield.cli.sweep.plan import SweepFile, check_runs

    file = SweepFile(path)
    check_runs(file, path.parent)
    return file


def _make_results(folder: Path) -> Path:
    from scorefield.rows import RowStore

    store = RowStore(folder / "results.jsonl", {"seed": 0}, ["image"])
    store.add(*({"image": f"{n}.png", "digest": "00", "score": n / 3} for n in range(3)))
    return folder / "results.jsonl"


def _read_results(path: Path) -> object:
    from scorefield.cli.perception.image_results import ImageResults

    return ImageResults(path, {"seed": 0}, True).of([])


def _make_captions(folder: Path) -> Path:
    from PIL import Image

    (folder / "set").mkdir()
    rows = []
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (12, 12), colour).save(folder / "set" / f"{name}.png")
        rows.append(json.dumps({"file_name": f"{name}.png", "text": f"a {colour} cup"}))
    (folder / "set" / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "set"


def _read_captions(path: Path) -> object:
    from scorefield.training.folder import read_folder

    return read_folder(path)


def _make_exported(folder: Path) -> Path:
    from scorefield.control.policies.export import export_policy

    policy = _read_policy(folder.parents[1] / "material" / "policy")
    export_policy(policy, folder / "exported")  # type: ignore[arg-type]
    return folder / "exported"


def _read_exported(path: Path) -> object:
    from scorefield.control.policies.runner import ExportedPolicy

    policy = ExportedPolicy(path)
    return policy.act(
        {"state": np.zeros((policy.config["horizons"]["n_obs_steps"], 2), np.float32)}
    )


FORMATS: dict[str, Format] = {
    "png": _image("png", "RGBA"),
    "png 16": _image("png", "I;16"),
    "jpg": _image("jpg"),
    "webp": _image("webp", "RGBA"),
    "gif": _image("gif"),
    "bmp": _image("bmp"),
    "tiff": _image("tiff"),
    "tiff float": _image("tiff", "F"),
    "svg": Format(_copied("drawing.svg"), _read_svg, 40),
    "mesh obj": _mesh("obj"),
    "mesh ply": _mesh("ply"),
    "mesh stl": _mesh("stl"),
    "mesh off": _mesh("off"),
    "mesh glb": _mesh("glb"),
    "mesh gltf": _mesh("gltf"),
    "policy": Format(_copied("policy"), _read_policy),
    "policy without seal": Format(_unsealed("policy"), _read_policy),
    "exported policy": Format(_make_exported, _read_exported, 6),
    "prior": Format(_copied("prior"), _read_prior, 4),
    "prior without seal": Format(_unsealed("prior"), _read_prior, 4),
    "svg to start from": Format(_copied("drawing.svg"), _read_start, 20),
    "folder to seal": Format(_unsealed("policy"), _seal),
    "judge": Format(_copied("judge"), _read_judge),
    "run": Format(_make_run, _read_run, 20),
    "prompts": Format(_copied("prompts.txt"), _read_prompts),
    "sweep": Format(_copied("sweep.toml"), _read_sweep),
    "results": Format(_make_results, _read_results),
    "captions": Format(_make_captions, _read_captions),
    "episodes": Format(_copied("demos"), _demonstrations("zarr").read),
    **{
        f"demonstrations {kind}": _demonstrations(kind)
        for kind in ("lerobot video", "lerobot image", "robomimic", "numpy", "zarr", "zarr.zip")
    },
    **benchmark_files.FORMATS,
    **added_files.FORMATS,
}
