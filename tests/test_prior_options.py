"""What every command says of its prior reaches the prior."""

from pathlib import Path
from typing import Any

import pytest
import torch

from scorefield.cli import loading
from scorefield.cli.command import PriorCommand
from scorefield.cli.commands import COMMANDS
from scorefield.cli.main import main
from scorefield.images import save_image
from scorefield.priors.loading import PriorError

# What each must be given besides; IMAGE, FILE and PROMPTS are files.
WORDS = {
    "sample": "cup",
    "compose": "red blue",
    "edit": "IMAGE red",
    "invert": "IMAGE",
    "text-to-video": "red",
    "text-to-3d": "red",
    "text-to-svg": "red",
    "classify": "IMAGE --labels red,blue",
    "rank": "IMAGE --text red",
    "segment": "IMAGE",
    "match": "IMAGE IMAGE",
    "features": "IMAGE",
    "energy": "IMAGE",
    "info": "folder",
    "evaluate prior": "",
    "evaluate text-to-3d": "--prompts PROMPTS",
    "evaluate text-to-svg": "--prompts PROMPTS",
}
OPTIONS = (
    "--lora FILE FILE --lora-weights 0.5 2 --controlnet . --control-image IMAGE --variant fp16"
    " --scheduler DDIMScheduler --image-size 32 --low-memory --compile --device cpu"
)
OUT = dict.fromkeys(("sample", "compose", "edit", "match"), "out.png")
OUT |= {"text-to-video": "out.gif"}
# These read files of their own before the prior.
OTHERS = {
    "texture",
    "nerfstudio train",
    "evaluate correspondence",
    "evaluate segmentation",
    "evaluate classifier",
}


def test_every_command_with_a_prior_is_tried() -> None:
    named = {name for name in COMMANDS if issubclass(COMMANDS[name].load(), PriorCommand)}
    assert named == set(WORDS) | OTHERS


@pytest.mark.parametrize("name", WORDS)
def test_options_of_the_prior_reach_it(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = save_image(tmp_path / "a.png", torch.rand(3, 8, 8))
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red cup\n")
    seen: dict[str, Any] = {}

    def load_prior(source: str, **options: Any) -> None:
        seen.update(options, source=source)
        raise PriorError("seen")

    monkeypatch.setattr(loading, "load_prior", load_prior)
    monkeypatch.chdir(tmp_path)
    lora = tmp_path / "a.safetensors"
    lora.touch()
    places = {"IMAGE": str(image), "PROMPTS": str(prompts), "FILE": str(lora)}
    words = [places.get(word, word) for word in f"{name} {WORDS[name]} {OPTIONS}".split()]
    if name != "info":
        words += ["--prior", "folder"]
    if name not in ("info", "energy"):
        words += ["--out", OUT.get(name, "out")]
    assert main(words) == 2
    assert capsys.readouterr().err == "scorefield: error: seen\n"
    assert seen["source"] == "folder"
    assert seen["lora"] == [(lora, 0.5), (lora, 2.0)]
    assert seen["controlnet"] == Path(".") and seen["variant"] == "fp16"
    assert seen["image_size"] == 32 and seen["low_memory"] and seen["compile"]
