"""`scorefield features`: what layers of a prior see in images, as files."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorefield.cli.command import Outcome, check_folder, under_way
from scorefield.cli.perception.data_set import ImagesCommand
from scorefield.cli.perception.image_results import file_digest
from scorefield.domains import Count
from scorefield.files import parse_json, whole_file
from scorefield.locks import owned

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.perception.fleet.work import ImageWork

_SETTINGS = "settings"
"""The entry of a file's metadata with all settings, as JSON: safetensors writes several entries in
an order of its own in each process, and the same features would be files of other bytes."""


@dataclass(frozen=True, kw_only=True)
class Features(ImagesCommand):
    """Write what layers of a prior see in images, a safetensors file per image.

    Its metadata hold the settings and a digest of the image's file, as JSON under "settings". The
    middle square of each image is brought to the prior's size. A file that cannot be read is
    named, and the others are done. Of a data set it writes Parquet files, a column per layer.
    """

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

    def run(self) -> Outcome:
        """Tap and write."""
        if self.data is not None:
            return self.over_data()
        targets = {path: self.out / f"{path.stem}.safetensors" for path in self.images}
        if len(set(targets.values())) < len(self.images):
            raise ValueError("two of the images have one name; their files would be one")
        check_folder(self.out, self.resume)

        import torch
        from safetensors.torch import save_file
        from tqdm import tqdm

        from scorefield.images import load_image

        work = self.work()
        wanted = {path: {**work.settings, "digest": file_digest(path)} for path in self.images}
        left = [path for path in self.images if _settings_of(targets[path]) != wanted[path]]
        bad = []
        with (
            owned(self.out),
            under_way(),
            tqdm(total=len(left), disable=self.quiet, desc="images") as bar,
        ):
            for path in left:
                try:
                    image = load_image(path, work.size)
                except ValueError as error:
                    bad.append(str(error))
                else:
                    (maps,) = work.judge(image[None], [])
                    tensors = {name: torch.from_numpy(found) for name, found in maps.items()}
                    with whole_file(targets[path]) as part:
                        save_file(tensors, part, metadata=_metadata(wanted[path]))
                bar.update()
        written = [
            str(target) for path, target in targets.items() if _settings_of(target) == wanted[path]
        ]
        problem = f"{len(bad)} of {len(self.images)} images: {'; '.join(bad)}" if bad else None
        metrics = {
            "out": str(self.out),
            "layers": list(work.columns),
            "log_snr": work.settings["log_snr"],
            "written": written,
            "errors": bad,
        }
        return Outcome(metrics, [f"wrote {path}" for path in written], problem)

    def work(self) -> "ImageWork":
        """Maps of images, by layer; their noise is keyed by what they show."""
        import torch

        from scorefield.cli.loading import prior_of
        from scorefield.perception.correspondence.dift import dift_preset
        from scorefield.perception.fleet.work import ImageWork
        from scorefield.priors.features.extraction import extract_features
        from scorefield.priors.features.taps import layer_path
        from scorefield.priors.frozen_prior import prior_digest

        prior = prior_of(self)
        preset = dift_preset(prior)
        layers = self.layers or preset.layers
        for name in layers:
            layer_path(prior.model, name)
        if self.log_snr is not None:
            preset = replace(preset, log_snr=self.log_snr, timestep=None)
        level = preset.level(prior.schedule)
        prior.condition(self.prompt)
        size = prior.image_size

        def judge(
            images: "Tensor", _: list[int], ensemble: int = self.ensemble
        ) -> list[dict[str, Any]]:
            maps = extract_features(
                prior, images, layers, level, self.prompt, ensemble=ensemble, seed=self.seed,
                batch_size=self.batch_size,
            )  # fmt: skip
            return [
                {name: found[i].cpu().contiguous().numpy() for name, found in maps.items()}
                for i in range(len(images))
            ]

        (blank,) = judge(torch.zeros(1, 3, size, size), [], 1)
        columns = {name: found.shape for name, found in blank.items()}
        settings = {
            "prior": self.prior, "weights": prior_digest(prior), "layers": list(layers),
            "log_snr": float(level.log_snr), "ensemble": self.ensemble, "seed": self.seed,
            "prompt": self.prompt,
        }  # fmt: skip
        return ImageWork(judge, columns, settings, prior.device, size)


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
