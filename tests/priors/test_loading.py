import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scorefield.integrity import check_seal, unverified, write_seal
from scorefield.priors import embedded
from scorefield.priors.loading import EMBEDDED, PriorError, check_folder, load_prior
from scorefield.priors.noise import keyed_noise

UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(tiny_sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_sd, tmp_path / "copy"))


def refusal(source: str | Path) -> str:
    """The message of the refusal, which is one line."""
    with pytest.raises(PriorError) as caught:
        load_prior(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_loads(tiny_sd: Path) -> None:
    prior = load_prior(tiny_sd)
    assert prior.name == "tiny_sd"
    assert prior.latent_shape == (4, 16, 16)
    assert prior.guidance_scale == 7.5
    assert prior.text.vocabulary is None
    by_string = load_prior(str(tiny_sd))
    z = keyed_noise(0, range(1), 0, prior.latent_shape)
    level = prior.schedule.at_timestep(300)
    assert torch.equal(prior.condition("a")(z, level).eps, by_string.condition("a")(z, level).eps)


def test_loading_prints_nothing(tiny_sd: Path) -> None:
    """Also the first time, when diffusers and transformers are imported."""
    code = f"from scorefield.priors import load_prior; load_prior({str(tiny_sd)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_half_precision(tiny_sd: Path) -> None:
    prior = load_prior(tiny_sd, dtype=torch.bfloat16)
    for module in (prior.network, prior.text.model, prior.codec.vae):  # type: ignore[attr-defined]
        assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    z = keyed_noise(0, range(1), 0, prior.latent_shape)
    assert prior.condition("a cup")(z, prior.schedule.at_timestep(300)).eps.dtype == torch.float32
    assert prior.decode(z).dtype == torch.float32


def test_the_card_names_scale_and_vocabulary(folder: Path) -> None:
    card = {"name": "toy", "guidance_scale": 3.0, "vocabulary": ["a", "red", "cup"]}
    (folder / "scorefield.json").write_text(json.dumps(card))
    prior = load_prior(folder)
    assert (prior.name, prior.guidance_scale) == ("toy", 3.0)
    with pytest.raises(ValueError, match="know 'mug'"):
        prior.condition("a red mug")


def remove(path: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return damage


def overwrite(path: str | Path, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_bytes(content) and None


def truncate(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-100])


def damage_header(folder: Path) -> None:
    content = bytearray((folder / UNET).read_bytes())
    content[20:24] = b"\xff\x00{]"
    (folder / UNET).write_bytes(bytes(content))


def pickle_weights(folder: Path) -> None:
    (folder / UNET).rename((folder / UNET).with_suffix(".bin"))


# Each damage, the file that the message must name, and the remedy.
DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no index": (remove("model_index.json"), "model_index.json: missing", "save_pretrained"),
    "truncated": (truncate, f"{UNET}: has", "copy the file again"),
    "header": (damage_header, f"{UNET}: truncated or damaged header", "copy the file again"),
    "empty": (overwrite(UNET, b""), f"{UNET}: truncated or damaged header", "copy the file again"),
    "page": (overwrite(UNET, b"<html>404</html>"), f"{UNET}: truncated or", "copy the file again"),
    "bad entry": (
        overwrite(UNET, (28).to_bytes(8, "little") + b'{"weight":{"data_offsets":1}}'[:28]),
        f"{UNET}: truncated or damaged header",
        "copy the file again",
    ),
    "component": (remove("vae"), "vae/config.json: missing", "copy it again"),
    "weights": (remove(str(UNET)), "unet: no .safetensors weights", "copy it again"),
    "scheduler": (remove("scheduler"), "scheduler_config.json: missing", "copy it again"),
    "tokenizer": (remove("tokenizer"), "tokenizer: tokenizer.json or vocab.json", "copy it again"),
    "pickled": (pickle_weights, "diffusion_pytorch_model.bin: pickled", "safe_serialization=True"),
    "json": (overwrite("vae/config.json", b"{"), "vae/config.json: not valid JSON", "copy the"),
    "not text": (overwrite("vae/config.json", b"\xff\xfe"), "vae/config.json: not valid", "copy"),
    "no object": (overwrite("unet/config.json", b"[]"), "unet/config.json: must hold", "copy the"),
    "card": (overwrite("scorefield.json", b"nope"), "scorefield.json: not valid JSON", "copy the"),
}


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("scheduler/scheduler_config.json", "prediction_type", {"a": 1}),
        ("tokenizer/tokenizer_config.json", "model_max_length", "x"),
        ("scorefield.json", "guidance_scale", "x"),
    ],
)
def test_values_that_diffusers_lets_through(
    folder: Path, file: str, key: str, value: object
) -> None:
    there = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**there, key: value}))
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_folders(folder: Path, name: str) -> None:
    damage, names, remedy = DAMAGES[name]
    damage(folder)
    message = refusal(folder)
    assert message.startswith(str(folder))
    assert names in message
    assert remedy in message
    # found before any weights are read
    with pytest.raises(PriorError):
        check_folder(folder)


def test_weights_of_another_network(folder: Path) -> None:
    """What only reading the weights can find is a one-line refusal as well."""
    config = folder / "unet" / "config.json"
    content = json.loads(config.read_text())
    content["cross_attention_dim"] = 48
    config.write_text(json.dumps(content))
    check_folder(folder)
    message = refusal(folder)
    assert f"{folder}: could not be loaded" in message


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_lack_a_tensor(folder: Path, part: str) -> None:
    """diffusers leaves what is missing without data, transformers makes it up."""
    (path,) = (folder / part).glob("*.safetensors")
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata={"format": "pt"})
    message = refusal(folder)
    assert message.startswith(f"{folder / part}: the weights hold {len(tensors)} of ")
    assert "copy them again" in message


def test_weights_that_are_not_finite(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    assert refusal(folder).startswith(f"{folder / 'unet'}: the weights {name} are not finite")


def test_a_sealed_folder_that_was_changed(folder: Path) -> None:
    write_seal(folder)
    load_prior(folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text() + " ")
    assert refusal(folder).startswith(f"{path}: is not the file that was sealed")
    with unverified():
        load_prior(folder)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_priors_are_sealed(name: str) -> None:
    assert check_seal(str(files("scorefield.priors") / "weights" / name))


def test_another_family(folder: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "ShapEPipeline"))
    message = refusal(folder)
    assert "model_index.json: holds a ShapEPipeline" in message
    assert "StableDiffusionPipeline" in message


def test_an_index_without_a_part(folder: Path) -> None:
    index = folder / "model_index.json"
    content = json.loads(index.read_text())
    content["vae"] = [None, None]
    index.write_text(json.dumps(content))
    assert "model_index.json: names no vae" in refusal(folder)


def test_missing_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no such folder")
    assert "shapes" in refusal("nowhere")
    # a path is never taken for a hub id
    assert "no such folder; give" in refusal(Path("runs") / "prior")
    assert "no such folder; give" in refusal("./runs/prior")


def test_missing_weights_of_an_embedded_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "files", lambda package: tmp_path)
    message = refusal("shapes")
    assert message.startswith(str(tmp_path / "weights" / "shapes"))
    assert "install scorefield again" in message


def test_hub_ids_offline() -> None:
    message = refusal("scorefield-tests/no-such-model")
    assert message.startswith("scorefield-tests/no-such-model: no such folder, and not available")
    assert "check the path, the id and the network" in message


def test_hub_ids(tiny_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The family is checked before weights are fetched, and the fetched folder like any other."""
    import diffusers
    import huggingface_hub

    fetched: list[str] = []

    def download(hub_id: str, **options: Any) -> str:
        assert options["use_safetensors"] is True
        assert "trust_remote_code" not in options
        fetched.append(hub_id)
        return str(tiny_sd)

    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "download", download)
    index = tiny_sd / "model_index.json"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(index))
    assert load_prior("owner/model").name == "owner/model"
    assert fetched == ["owner/model"]


def test_hub_ids_of_a_class_that_diffusers_lacks(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(hub_id: str, allow_patterns: list[str]) -> str:
        assert not any(".bin" in pattern or ".py" in pattern for pattern in allow_patterns)
        return str(tiny("clip"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    index = tiny("clip") / "model_index.json"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(index))
    prior = load_prior("owner/clips")
    assert (prior.name, prior.frames, prior.image_size) == ("owner/clips", 4, 8)


def test_hub_ids_of_another_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "MochiPipeline"}))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(index))
    assert refusal("owner/mochi").startswith("owner/mochi/model_index.json: holds a MochiPipeline")


def test_nothing_is_said_of_parts_that_are_not_needed() -> None:
    code = (
        "import scorefield.training.shapes; from scorefield.priors import load_prior; "
        "load_prior('icons')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
