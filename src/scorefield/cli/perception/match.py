"""`scorefield match`: where the points of one image are in another."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scorefield.cli.command import Outcome, PriorCommand, check_image_path, check_unused, under_way
from scorefield.domains import Count, Share, Whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Match(PriorCommand):
    """Find the points of one image in another, by the features of a prior, and draw them.

    Images of any size are brought to the prior's; points are pixels of the images as they are.
    """

    images: Annotated[tuple[Path, Path], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE IMAGE")]
    """Image that the points are of, and the one they are sought in."""
    points: str | None = None
    """Points of the first image, "x,y x,y ..."; without, the most distinct matches, spread over the
    image."""
    most: Whole = 60
    """Number of matches at most, where no points are given; 0 lists all mutual nearest neighbours
    and draws 60."""
    out: Path = Path("matches.png")
    """Image to write, of both images and the matches; replaced if it is there."""
    layer: str | None = None
    """Layer to tap, as scorefield info lists them; None is the preset of the prior's family."""
    log_snr: float | None = None
    """Log-SNR of the noise level the prior is tapped at; None is the preset's."""
    ensemble: Count | None = None
    """Draws of noise that are averaged; None is the preset's."""
    fuse: Annotated[Literal["sift"] | None, tyro.conf.arg(name="with")] = None
    """Descriptor to match together with the features: dense SIFT, which knows places more
    exactly."""
    weight: Share | None = None
    """Share of the prior in the fused similarity, 0 to 1; None is the tuned one."""
    prompts: tuple[str, ...] = ()
    """Prompt that both images show, or one prompt for each."""
    homography: bool = False
    """Also find the homography that most matches agree with."""

    def run(self) -> Outcome:
        """Match and draw."""
        check_image_path(self.out)
        if self.points is not None:
            check_unused(self, "--points", "most")
        if self.fuse is None and self.weight is not None:
            raise ValueError("--weight is the prior's share in a fusion; give --with sift as well")
        if len(self.prompts) > 2:
            raise ValueError(f"--prompts takes one or two prompts; got {len(self.prompts)}")

        from scorefield.cli.loading import prior_of
        from scorefield.images import load_image, save_image
        from scorefield.perception.correspondence.dift import dift_preset, match
        from scorefield.perception.correspondence.drawing import draw_matches
        from scorefield.perception.correspondence.sift import SiftFusion
        from scorefield.priors.features.taps import layer_path

        a, b = (load_image(path) for path in self.images)
        points = None if self.points is None else _parse(self.points, a)
        prior = prior_of(self)
        preset = dift_preset(prior)
        if self.layer is not None:
            layer_path(prior.model, self.layer)
            preset = replace(preset, layers=(self.layer,), source="--layer")
        if self.log_snr is not None:
            preset = replace(preset, log_snr=self.log_snr, timestep=None)
            preset.level(prior.schedule)
        if self.ensemble is not None:
            preset = replace(preset, ensemble=self.ensemble)
        sift = None if self.fuse is None else SiftFusion()
        if sift is not None and self.weight is not None:
            sift = replace(sift, weight=self.weight)
        prompts = {0: None, 1: self.prompts[:1] * 2, 2: self.prompts}[len(self.prompts)]
        prior.condition(prompts)
        with under_way():
            every = match(prior, a, b, points, prompts, preset=preset, sift=sift, seed=self.seed)[0]
            matches = every
            if points is None and self.most:
                sizes = ((a.shape[1], a.shape[2]), (b.shape[1], b.shape[2]))
                matches = every.spread(*sizes, most=self.most)
            save_image(self.out, draw_matches(a, b, matches))
        rows = [
            {"source": _rounded(s), "target": _rounded(t), "similarity": round(float(c), 4),
             "cycle_error": round(float(e), 3), "ratio": round(float(r), 4)}
            for s, t, c, e, r in zip(
                matches.source, matches.target, matches.similarity, matches.cycle_error,
                matches.ratio, strict=True,
            )
        ]  # fmt: skip
        metrics = {
            "out": str(self.out),
            "layers": list(preset.layers),
            "log_snr": float(preset.level(prior.schedule).log_snr),
            "with": self.fuse,
            "weight": None if sift is None else sift.weight,
            "matches": rows,
        }
        lines = [f"wrote {self.out}"]
        if points is None:
            listed = f"; the {len(rows)} most distinct are drawn" if self.most else ""
            lines.insert(0, f"{len(every)} places agree both ways{listed}")
        else:
            lines = [
                f"{row['source']} -> {row['target']}  similarity {row['similarity']:.2f}, "
                f"back within {row['cycle_error']:.1f} pixels"
                for row in rows
            ] + lines
        if not self.homography:
            return Outcome(metrics, lines)
        try:
            matrix, inliers = every.homography(seed=self.seed)
        except ValueError as error:  # the matches are there all the same
            return Outcome(metrics, lines, str(error))
        metrics |= {"homography": matrix.tolist(), "inliers": int(inliers.sum())}
        lines.append(f"a homography agrees with {int(inliers.sum())} of {len(every)} matches")
        return Outcome(metrics, lines)


def _parse(text: str, image: "Tensor") -> "Tensor":
    """Points "x,y x,y" within an image."""
    import torch

    try:
        points = torch.tensor([[float(v) for v in word.split(",")] for word in text.split()])
    except ValueError:
        points = torch.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not bool(points.isfinite().all()):
        raise ValueError(f'--points must be pixels as "x,y x,y"; got {text!r}')
    height, width = image.shape[-2:]
    inside = (points >= 0) & (points <= torch.tensor([width, height]))
    if not bool(inside.all()):
        x, y = points[~inside.all(1)][0].tolist()
        raise ValueError(f"--points: {x:g},{y:g} is outside the image of {width}x{height} pixels")
    return points


def _rounded(point: "Tensor") -> list[float]:
    return [round(float(v), 2) for v in point]
