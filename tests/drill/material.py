"""Small files to work on, made once, and the commands that are stopped and resumed."""

import importlib
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

WORDS = {
    "text-to-3d": "text-to-3d @ --steps 4 --views 1 --samples 8 --size 16 --render-size 16"
    " --frames 2 --mesh-resolution 16 --texture 64 --preview-every 2 --checkpoint-every 2",
    "texture": "texture MESH @ --steps 4 --views 1 --render-size 16 --frames 2 --texture 64"
    " --preview-every 2 --checkpoint-every 2",
    "text-to-svg": "text-to-svg @ --steps 4 --trace-steps 2 --samples 1 --views 1 --size 32"
    " --paths 3 --render-size 32 --preview-every 2"
    " --checkpoint-every 2",
    "evaluate text-to-3d": "evaluate text-to-3d --prompts PROMPTS --judge JUDGE --steps 2 --views 1"
    " --samples 8 --size 16 --render-size 16 --frames 2 --mesh-resolution 16 --texture 64"
    " --azimuths 1 --preview-every 0 --checkpoint-every 1",
    "evaluate text-to-svg": "evaluate text-to-svg --prompts PROMPTS --judge JUDGE --steps 2"
    " --trace-steps 2 --samples 1 --views 1 --size 32 --paths 2"
    " --render-size 32 --preview-every 0 --checkpoint-every 1",
    "evaluate classifier": "evaluate classifier --data imagefolder LABELLED --split val --budget 2"
    " --template {}",
    "evaluate segmentation": "evaluate segmentation --data folder MASKED -k 2",
    "evaluate correspondence": "evaluate correspondence --data spair PAIRED",
    "distill": "distill PRIOR --prompts PROMPTS --steps 2 --updates 3 --fake-updates 1"
    " --sampler renoised --regression-updates 0"
    " --batch-size 2 --least-spread 0 --preview-every 2 --checkpoint-every 1",
    "train-prior digits": "train-prior digits --steps 2",
    "train-prior judge": "train-prior judge --images 32 --steps 2",
    "train-prior shapes": "train-prior shapes --images 32 --steps 2 --codec-steps 2",
    "train-prior pictures": "train-prior pictures IMAGES --views 2 --steps 2 --codec-steps 2"
    " --prior none",
    "train-prior motion-narrow": "train-prior motion-narrow --steps 2 --width 8",
    "policy collect": "policy collect two-routes --episodes 4 --batch 2 --images 16",
    "policy train": "policy train DEMOS --env two-routes --steps 4 --batch-size 8 --width 16"
    " --layers 1",
    "policy distill": "policy distill POLICY DEMOS --updates 3 --regression-updates 1"
    " --fake-updates 1 --batch-size 4 --least-spread 0",
    "policy train unet": "policy train DEMOS --observe state --network unet --steps 2"
    " --batch-size 4 --executed 4",
    "classify": "classify IMAGE IMAGE2 IMAGE3 IMAGE4 IMAGE5 --labels red,blue"
    " --prior PRIOR --budget 8",
    "rank": "rank IMAGE IMAGE2 IMAGE3 IMAGE4 IMAGE5 --text red --prior PRIOR --draws 2",
    "features": "features IMAGE IMAGE2 IMAGE3 --prior PRIOR --ensemble 1",
    "segment": "segment IMAGE IMAGE2 IMAGE3 --prior PRIOR -k 2 --method kmeans",
    "invert": "invert IMAGE --prior PRIOR --steps 2",
    "policy export": "policy export POLICY",
    "gallery": "gallery RUNS",
}
"""Commands that can be stopped and given again, as small as can be; @ is a prompt and a prior."""

FILES = {"classify": "results.jsonl", "rank": "scores.jsonl"}
"""What --out names where it is no folder."""

WITHOUT_RESUME = ("gallery", "invert", "policy export")
"""Commands that go on, or begin again, without being told."""

ONCE = ("policy export",)
"""Commands that are refused where they were over."""


def places_of(material: Path) -> dict[str, str]:
    """What words in capitals stand for."""
    places = {one.stem.upper(): str(one) for one in material.iterdir() if one.name[0] != "."}
    return places | {"JUDGE": str(material / "judge" / "judge.safetensors")}


def words_of(name: str, material: Path, out: Path, resume: bool) -> list[str]:
    """A command as its words."""
    places = places_of(material)
    words = []
    for word in WORDS[name].split():
        words += ["a red cup", "--prior", places["PRIOR"]] if word == "@" else [word]
    words = [places.get(word, word) for word in words]
    if name.startswith("evaluate"):
        words += ["--prior", places["PRIOR"]]
    if name != "gallery":
        words.append("--quiet")
    goes_on = resume and name not in WITHOUT_RESUME
    return [*words, "--out", str(out / FILES.get(name, "")), *(["--resume"] if goes_on else [])]


def shrink() -> None:
    """Makes the scenes and batches of this process small where no option does."""
    from scorefield.cli.priors import train
    from scorefield.sds.nerf.fields import VoxelGrid
    from scorefield.sds.nerf.radiance_field import RadianceField
    from scorefield.training import pictures, shapes
    from scorefield.training.settings import TrainingSettings

    # By name, for the package has a function that is called like the module.
    scenes = importlib.import_module("scorefield.sds.nerf.scene_distillation")
    scenes.RadianceField = lambda *_: RadianceField(VoxelGrid(resolution=8, levels=2), cells=16)
    shapes.preview_prompts = lambda: ["a red cup"]
    pictures.preview_captions = partial(pictures.preview_captions, count=1)
    for name, value in list(vars(train).items()):
        if isinstance(value, TrainingSettings):
            setattr(train, name, replace(value, batch_size=2, warmup=1))


def make(folder: Path) -> int:
    """Makes all files, into an empty folder; returns 0, as a process does that ended well."""
    import tiny_models
    import trimesh
    from PIL import Image

    from scorefield.cli.main import main
    from scorefield.integrity import write_seal

    tiny_models.build("sd", folder / "prior")
    write_seal(folder / "prior")
    words = words_of("train-prior judge", folder, folder / "runs" / "judged", False)
    assert main(words) == 0
    shutil.copytree(folder / "runs" / "judged" / "judge", folder / "judge")
    (folder / "prompts.txt").write_text("a red cup\na blue lamp\n", encoding="utf-8")
    (folder / "sweep.toml").write_text(
        'command = "text-to-svg"\n[options]\nsteps = 4\nlevels.low = 0.05\n'
        '[axes]\nprompt = ["a red cup", "a blue lamp"]\nseed = [0, 1]\n',
        encoding="utf-8",
    )
    noise = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number, name in enumerate(("image", "image2", "image3", "image4", "image5")):
        pixels = noise.integers(0, 255, (20 + number, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        (folder / "images" / f"{name}.txt").write_text("a red cup", encoding="utf-8")
    _make_benchmarks(folder)
    trimesh.creation.icosphere(subdivisions=1).export(folder / "mesh.obj")
    (folder / "drawing.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><defs>'
        '<linearGradient id="g"><stop stop-color="red"/><stop offset="1" stop-color="#00f"/>'
        "</linearGradient></defs><style>.a{fill:url(#g);stroke:teal}</style>"
        '<g transform="rotate(10 16 16)"><path class="a" d="M2 2C9 1 9 20 30 30L4 25z"/>'
        '<circle cx="9" cy="20" r="4" fill-opacity=".5"/></g></svg>\n',
        encoding="utf-8",
    )
    demos = ["policy", "collect", "two-routes", "--episodes", "3", "--quiet"]
    assert main([*demos, "--out", str(folder / "demos")]) == 0
    train = words_of("policy train", folder, folder / "runs" / "trained", False)
    assert main(train) == 0
    os.rename(folder / "runs" / "trained" / "policy", folder / "policy")
    draw = words_of("text-to-svg", folder, folder / "runs" / "drawn", False)
    assert main(draw) == 0
    shrink()  # as the commands that read the scene are
    sculpt = words_of("text-to-3d", folder, folder / "scene", False)
    assert main(sculpt) == 0
    _make_sealed(folder, folder / "sealed")
    (folder / ".ready").write_text(json.dumps(sorted(one.name for one in folder.iterdir())))
    return 0


def _make_benchmarks(folder: Path) -> None:
    """Data sets as `evaluate classifier`, `segmentation` and `correspondence` read them."""
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
    halves = np.repeat([[0] * 15 + [1] * 15], 20, axis=0).astype(np.uint8)
    places = ["labelled/val/red", "labelled/val/blue", "masked/images", "masked/masks"]
    places += ["paired/JPEGImages/cat", "paired/PairAnnotation/test"]
    for place in places:
        (folder / place).mkdir(parents=True)
    for name, image in zip("abc", pixels, strict=True):
        for place in (places[0], places[1], places[2], places[4]):
            Image.fromarray(image).save(folder / place / f"{name}.png")
        Image.fromarray(halves).save(folder / "masked" / "masks" / f"{name}.png")
    points, box = [[4, 5], [10, 9]], [0, 0, 29, 19]
    for number, (one, other) in enumerate(("ab", "bc", "ca")):
        pair = {
            "src_imname": f"{one}.png", "trg_imname": f"{other}.png", "category": "cat",
            "src_kps": points, "trg_kps": points, "src_bndbox": box, "trg_bndbox": box,
        }  # fmt: skip
        name = f"{number:06d}-{one}-{other}:cat.json"
        (folder / "paired" / "PairAnnotation" / "test" / name).write_text(json.dumps(pair))


def _make_sealed(material: Path, folder: Path) -> None:
    """Weights of every kind that is written with checksums."""
    from importlib.resources import files

    from scorefield.cli.main import main
    from scorefield.control.policies.export import export_policy
    from scorefield.control.policies.loading import load_policy

    embedded = Path(str(files("scorefield.priors") / "weights"))
    shutil.copytree(embedded / "digits", folder / "digits")  # the smallest; all have the same seal
    shutil.copytree(Path(str(files("scorefield.world") / "weights")), folder / "judge")
    shutil.copytree(material / "policy", folder / "policy")
    export_policy(load_policy(material / "policy"), folder / "exported")
    student = words_of("distill", material, material / "runs" / "distilled", False)
    assert main(student) == 0
    shutil.copytree(material / "runs" / "distilled" / "student", folder / "student")
    shutil.copytree(material / "judge", folder / "judge-trained")
