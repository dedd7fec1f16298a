"""`scorefield features`: what layers of a prior see in images, as files."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from scorefield.cli.command import Outcome, PriorCommand, check_folder, under_way
from scorefield.cli.perception.picture_results import file_digest
from scorefield.domains import Count
from scorefield.files import parse_json, whole_file
from scorefield.locks import owned

_SETTINGS = "settings"
"""The entry of a file's metadata with all settings, as JSON: safetensors writes several entries in
an order of its own in each process, and the same features would be files of other bytes."""


@dataclass(frozen=True, kw_only=True)
class Features(PriorCommand):
    """Write what layers of a prior see in images, a safetensors file per image.

    Its metadata hold the settings and a digest of the image's file, as JSON under "settings". The
    middle square of each image is brought to the prior's size. A file that cannot be read is
    named, and the others are done.
    """

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE ...")]
    """Images of any size and mode."""
    out: Path
    """Folder of the files, each called as its image; new or empty unless resuming."""
    layers: tuple[str, ...] = ()
    """Layers to tap, as scorefield info lists them; none are those of the preset for
    correspondence."""
    log_snr: float | None = None
    """Log-SNR of the noise level the prior is tapped at; None is the preset's."""
    ensemble: Count = 8
    """Draws of noise that are averaged."""
    prompt: str | None = None
    """Prompt that the images show; the preset's without it."""
    batch_size: Count = 16
    """Draws in the network at once."""
    resume: bool = False
    """Leave out the images whose features, of the same settings, are in --out."""

    def run(self) -> Outcome:
        """Tap and write."""
        if not self.pictures:
            raise ValueError("no image is given; name one or several files")
        targets = {path: self.out / f"{path.stem}.safetensors" for path in self.pictures}
        if len(set(targets.values())) < len(self.pictures):
            raise ValueError("two of the images have one name; their files would be one")
        check_folder(self.out, self.resume)

        from safetensors.torch import save_file
        from tqdm import tqdm

        from scorefield.cli.loading import prior_of
        from scorefield.images import load_image
        from scorefield.perception.correspondence.dift import dift_preset
        from scorefield.priors.features.extraction import extract_features
        from scorefield.priors.features.taps import layer_path

        prior = prior_of(self)
        preset = dift_preset(prior)
        layers = self.layers or preset.layers
        for name in layers:
            layer_path(prior.model, name)
        if self.log_snr is not None:
            preset = replace(preset, log_snr=self.log_snr, timestep=None)
        level = preset.level(prior.schedule)
        prior.condition(self.prompt)
        settings = {
            "prior": self.prior, "layers": list(layers), "log_snr": float(level.log_snr),
            "ensemble": self.ensemble, "seed": self.seed, "prompt": self.prompt,
        }  # fmt: skip
        wanted = {path: {**settings, "digest": file_digest(path)} for path in self.pictures}
        left = [path for path in self.pictures if _settings_of(targets[path]) != wanted[path]]
        options: dict[str, Any] = {
            "ensemble": self.ensemble, "seed": self.seed, "batch_size": self.batch_size
        }  # fmt: skip
        bad = []
        with (
            owned(self.out),
            under_way(),
            tqdm(total=len(left), disable=self.quiet, desc="images") as bar,
        ):
            for path in left:
                try:
                    image = load_image(path, prior.image_size)
                except ValueError as error:
                    bad.append(str(error))
                else:
                    maps = extract_features(
                        prior, image[None], layers, level, self.prompt, **options
                    )
                    tensors = {name: found[0].cpu().contiguous() for name, found in maps.items()}
                    with whole_file(targets[path]) as part:
                        save_file(tensors, part, metadata=_metadata(wanted[path]))
                bar.update()
        written = [
            str(target) for path, target in targets.items() if _settings_of(target) == wanted[path]
        ]
        problem = f"{len(bad)} of {len(self.pictures)} pictures: {'; '.join(bad)}" if bad else None
        metrics = {
            "out": str(self.out),
            "layers": list(layers),
            "log_snr": float(level.log_snr),
            "written": written,
            "errors": bad,
        }
        return Outcome(metrics, [f"wrote {path}" for path in written], problem)


def _metadata(settings: dict[str, Any]) -> dict[str, str]:
    """The settings as a file of safetensors takes them."""
    return {_SETTINGS: json.dumps(settings, sort_keys=True)}


def _settings_of(path: Path) -> dict[str, Any] | None:
    """What a file of features was made with and of; None without a readable file."""
    if not path.is_file():
        return None

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            settings: dict[str, Any] = parse_json((file.metadata() or {})[_SETTINGS])
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    return settings
