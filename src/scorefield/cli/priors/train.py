"""`scorefield train-prior`: the embedded networks, from nothing."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from scorefield.cli.command import Command, Outcome, check_folder, check_unused
from scorefield.cli.launched import is_first
from scorefield.domains import Count, Whole
from scorefield.locks import owned
from scorefield.training import recipes
from scorefield.training.recipes import PictureSettings
from scorefield.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class _Training(Command):
    out: Path
    """Folder of the training, new or empty; it holds the images, runs and results."""
    resume: bool = False
    """Go on with the training in --out; without one there, begin."""

    if TYPE_CHECKING:  # each training has this option, with a default and a help of its own
        steps: int

    used_as: ClassVar[str] = "--prior"
    """Option of other commands that takes the result."""

    def run(self) -> Outcome:
        """Train, by all processes that a launcher started; the first one owns the folder."""
        if not is_first():
            self.train(progress=False)
            return Outcome({}, [])
        check_folder(self.out, self.resume)
        with owned(self.out):
            path = self.train(progress=not self.quiet)
        metrics = {"out": str(path), "steps": self.steps, "seed": self.seed}
        return Outcome(metrics, [f"wrote {path}; use it with {self.used_as} {path}"])

    def train(self, progress: bool) -> Path:
        """Train in --out; returns what was made.

        progress: whether to show it.
        """
        raise NotImplementedError

    def adjusted(self, settings: TrainingSettings, steps: int) -> TrainingSettings:
        """The recipe's settings with what the options say."""
        from scorefield.cli.loading import device_of, named_dtype

        dtype = named_dtype(self, device := device_of(self))
        return replace(settings, steps=steps, seed=self.seed, device=str(device), dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class TrainShapes(_Training):
    """Train the embedded text-to-image prior: renders the world, then codec, then denoiser.

    The finished pipeline is in OUT/shapes, in diffusers' format. The defaults are the recipe of
    the prior that ships. With --cameras the training begins with that prior, whose codec it keeps,
    and the result, OUT/shapes-cameras, is told cameras in place of words for views.
    """

    steps: Count = recipes.DIFFUSION.steps
    """Training steps of the denoiser."""
    codec_steps: Count = recipes.CODEC.steps
    """Training steps of the codec."""
    images: Count = recipes.SHAPES_IMAGES
    """Size of the training set."""
    cameras: bool = False
    """Train the prior shapes further, to be told cameras."""

    def check(self) -> None:
        """Refuse steps of a codec that is not trained."""
        if self.cameras:
            check_unused(self, "--cameras, which keeps the codec of shapes", "codec_steps")

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.shapes import train_shapes, train_shapes_with_cameras

        if self.cameras:
            return train_shapes_with_cameras(
                self.out,
                count=self.images,
                diffusion=self.adjusted(recipes.DIFFUSION, self.steps),
                resume=self.resume,
                progress=progress,
            )
        return train_shapes(
            self.out,
            count=self.images,
            codec=self.adjusted(recipes.CODEC, self.codec_steps),
            diffusion=self.adjusted(recipes.DIFFUSION, self.steps),
            resume=self.resume,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class _FurtherTraining(_Training):
    prior: str
    """Prior the training begins with: an embedded one, a folder, a hub id, or none."""
    decoder_only: bool = False
    """Keep the latents of --prior: of its codec only the decoder is trained."""

    def check(self) -> None:
        """Refuse latents to be kept where there are none."""
        if self.decoder_only and self.prior == "none":
            raise ValueError("--decoder-only keeps the latents of a prior: name one by --prior")

    @property
    def start(self) -> str | None:
        """What the training begins with; None for random weights."""
        return None if self.prior == "none" else self.prior


@dataclass(frozen=True, kw_only=True)
class _PictureTraining(_FurtherTraining):
    prior: str = "shapes"
    """Prior the training begins with: an embedded one, a folder, a hub id, or none."""
    steps: Count = recipes.PICTURES_DENOISER.steps
    """Training steps of the denoiser."""
    codec_steps: Count = recipes.PICTURES_CODEC.steps
    """Training steps of the codec."""
    views: Count = PictureSettings().views
    """Views of each image, each cropped, placed and put on a background at random."""
    channels: Count = PictureSettings().channels
    """Channels of the 16x16 latents: more are sharper, and harder to draw in."""

    def pictures(self, *, mirror: bool = True) -> PictureSettings:
        """How the images become training data, as the options say."""
        return PictureSettings(
            self.views,
            mirror=mirror,
            channels=self.channels,
            start=self.start,
            decoder_only=self.decoder_only,
        )

    def stages(self) -> dict[str, Any]:
        """The two trainings, as the options say."""
        return {
            "codec": self.adjusted(recipes.PICTURES_CODEC, self.codec_steps),
            "denoiser": self.adjusted(recipes.PICTURES_DENOISER, self.steps),
        }


@dataclass(frozen=True, kw_only=True)
class TrainPictures(_PictureTraining):
    """Train a text-to-image prior on a folder of pictures: first the codec, then the denoiser.

    Captions come from a metadata.jsonl (Hugging Face's imagefolder), from a .txt beside each
    image, or from the names of the folders. The finished prior is in OUT/NAME, in diffusers'
    format.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of the images, searched with all folders in it."""
    name: str | None = None
    """Name of the prior; the folder's own without it."""
    mirror: bool = True
    """Half of the views are mirrored; not where images hold letters."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.pictures import train_pictures

        return train_pictures(
            self.folder,
            self.out,
            name=self.name,
            pictures=self.pictures(mirror=self.mirror),
            resume=self.resume,
            progress=progress,
            **self.stages(),
        )


@dataclass(frozen=True, kw_only=True)
class TrainIcons(_PictureTraining):
    """Train a prior of icons: fetches openly licensed sets by npm, and renders them.

    The images are in OUT/pictures, the finished prior in OUT/icons, in diffusers' format.
    """

    concepts: Count = recipes.ICON_CONCEPTS
    """Number of things to learn to draw, the first of the recipe's list."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.icon_recipe import train_icons

        return train_icons(
            self.out,
            concepts=self.concepts,
            pictures=self.pictures(),
            resume=self.resume,
            progress=progress,
            **self.stages(),
        )


@dataclass(frozen=True, kw_only=True)
class TrainObjects(_FurtherTraining):
    """Train a prior of furniture and other things, told the camera: fetches meshes by apt.

    Views are rendered of the openly licensed meshes of Sweet Home 3D. The finished prior is in
    OUT/objects, in diffusers' format; OUT/held-out has pictures of things kept apart, for judges.
    What it draws goes on improving with `--prior objects --decoder-only`.
    """

    prior: str = "icons"
    """Prior the training begins with: an embedded one, a folder, a hub id, or none."""
    steps: Count = recipes.OBJECTS_DENOISER.steps
    """Training steps of the denoiser."""
    codec_steps: Count = recipes.OBJECTS_CODEC.steps
    """Training steps of the codec."""
    views: Count = recipes.OBJECT_VIEWS
    """Views of each thing of a noun with five models or more."""
    other_views: Whole = recipes.OTHER_OBJECT_VIEWS
    """Views of each other thing; 0 leaves them out."""
    package: Path | None = None
    """Debian's package sweethome3d-furniture, where apt cannot fetch it."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.furniture.recipe import train_objects

        return train_objects(
            self.out,
            views=self.views,
            other_views=self.other_views,
            package=self.package,
            pictures=PictureSettings(start=self.start, decoder_only=self.decoder_only),
            codec=self.adjusted(recipes.OBJECTS_CODEC, self.codec_steps),
            denoiser=self.adjusted(recipes.OBJECTS_DENOISER, self.steps),
            resume=self.resume,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class TrainJudge(_Training):
    """Train the judge: a classifier of the world's images that has seen no other network's."""

    used_as = "--judge"

    steps: Count = recipes.JUDGE.steps
    """Training steps of the judge."""
    images: Count = recipes.JUDGE_IMAGES
    """Size of the training set."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.shapes import train_judge

        return train_judge(
            self.out,
            count=self.images,
            settings=self.adjusted(recipes.JUDGE, self.steps),
            resume=self.resume,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class TrainDigits(_Training):
    """Train the embedded class-conditional prior, on the training part of scikit-learn's digits.

    The finished prior is in OUT/digits, in diffusers' format. The defaults are the recipe of the
    prior that ships.
    """

    steps: Count = recipes.DIGITS.steps
    """Training steps of the digits' denoiser."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.digits import train_digits

        settings = self.adjusted(recipes.DIGITS, self.steps)
        return train_digits(self.out, settings, resume=self.resume, progress=progress)


@dataclass(frozen=True, kw_only=True)
class TrainMotionBroad(_Training):
    """Train the embedded prior of clips that knows all motions and colours, in three domains.

    The finished prior is in OUT/motion-broad, in diffusers' format. The defaults are the recipe of
    the prior that ships.
    """

    steps: Count = recipes.BROAD_SETTINGS.steps
    """Training steps, each on clips of its own."""
    width: Count = recipes.BROAD_WIDTH
    """Width of the broad network, a multiple of 8."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.motion import train_motion
        from scorefield.world.clips import BROAD

        return train_motion(
            self.out,
            BROAD,
            self.adjusted(recipes.BROAD_SETTINGS, self.steps),
            self.width,
            name="motion-broad",
            low_noise=recipes.BROAD_LOW_NOISE,
            resume=self.resume,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class TrainMotionNarrow(_Training):
    """Train the embedded prior of clips that has seen 64 clips of one domain.

    They show two of the four motions and two of the four colours. The finished prior is in
    OUT/motion-narrow, in diffusers' format. The defaults are the recipe of the prior that ships.
    """

    steps: Count = recipes.NARROW_SETTINGS.steps
    """Training steps on the narrow domain."""
    width: Count = recipes.NARROW_WIDTH
    """Width of the narrow network, a multiple of 8."""

    def train(self, progress: bool) -> Path:
        """Train."""
        from scorefield.training.motion import train_motion
        from scorefield.world.clips import NARROW

        return train_motion(
            self.out,
            NARROW,
            self.adjusted(recipes.NARROW_SETTINGS, self.steps),
            self.width,
            name="motion-narrow",
            low_noise=recipes.NARROW_LOW_NOISE,
            resume=self.resume,
            progress=progress,
        )
