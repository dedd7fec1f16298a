"""Where priors of each family are tapped and modulated for segmentation, and who says so."""

from typing import Literal

from scorefield.perception.segmentation.attention_hooks import cross_attention_paths
from scorefield.perception.segmentation.clustering import (
    FeatureClusters,
    KMeansClusters,
    NormalisedCut,
)
from scorefield.perception.segmentation.emerdiff import EmerDiff
from scorefield.priors.features.taps import short_name
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prior import check_is_prior


def emerdiff_preset(prior: FrozenPrior) -> EmerDiff:
    """The preset of a prior's family.

    Raises:
        ValueError: a prior of videos, or without cross-attention on its way up.
    """
    check_is_prior(prior)
    if prior.is_video:
        raise ValueError(f"{prior.name} is a prior of videos; give one of images")
    paths = cross_attention_paths(prior.model)
    if not paths:
        raise ValueError(
            f"{prior.name} has no cross-attention in upward blocks, which EmerDiff modulates; "
            "segment by clusters of its features (kmeans, ncut)"
        )
    ups = len(prior.model.up_blocks)
    is_sdxl = getattr(prior.model.config, "addition_embed_type", None) == "text_time"
    if ups == 4 or is_sdxl:
        block = "up_blocks.1." if ups == 4 else ".".join(paths[0].split(".")[:2]) + "."
        inside = [path for path in paths if path.startswith(block)]
        paper = "Namekata et al. 2024: the 16x16 block of Stable Diffusion 1.4 at 512 pixels"
        return EmerDiff(
            queries=short_name(f"{inside[0]}.to_q"),
            modulated=short_name(inside[-1]),
            query_level=_level(prior, 1, 6.373),
            level=_level(prior, 281, 0.4997),
            source=f"{paper}; not measured on SDXL" if is_sdxl else paper,
        )
    # of small networks, the finest block with attention
    block = ".".join(paths[-1].split(".")[:2]) + "."
    inside = [path for path in paths if path.startswith(block)]
    return EmerDiff(
        queries=short_name(f"{inside[0]}.to_q"),
        modulated=short_name(inside[-1]),
        query_level=prior.schedule.at_fraction(1 / 999),
        level=prior.schedule.at_log_snr(0.4),
        strength=1.0,
        blur=0.5,
        normalised=True,
        source="the tuning of docs/segmentation.md on the embedded prior",
    )


def clusters_preset(
    prior: FrozenPrior, clusters: KMeansClusters | NormalisedCut | None = None
) -> FeatureClusters:
    """Clusters of the features that EmerDiff would sharpen or, without any, of the middle block.

    clusters: None is k-means.

    Raises:
        ValueError: a prior of videos, or a network without blocks.
    """
    check_is_prior(prior)
    clusters = KMeansClusters() if clusters is None else clusters
    if cross_attention_paths(prior.model):
        sharpened = emerdiff_preset(prior)
        return FeatureClusters(
            sharpened.queries,
            sharpened.query_level,
            clusters,
            ensemble=sharpened.ensemble,
            size=sharpened.size,
            source=sharpened.source,
        )
    if prior.is_video:
        raise ValueError(f"{prior.name} is a prior of videos; give one of images")
    if blocks := getattr(prior.model, "transformer_blocks", None):
        layer = f"block{len(blocks) // 2}"
    elif ups := getattr(prior.model, "up_blocks", None):
        layer = f"up{(len(ups) - 1) // 2}"
    else:
        raise ValueError(f"{prior.name}: no preset for a {type(prior.model).__name__}; give one")
    return FeatureClusters(
        layer,
        prior.schedule.at_log_snr(2.98),
        clusters,
        source="the middle block at the level of DiffCut, timestep 50; not measured",
    )


def method_named(
    prior: FrozenPrior, name: Literal["emerdiff", "kmeans", "ncut"]
) -> EmerDiff | FeatureClusters:
    """The preset of a method as the command line names it.

    Raises:
        ValueError: as the presets do.
    """
    if name == "emerdiff":
        return emerdiff_preset(prior)
    return clusters_preset(prior, KMeansClusters() if name == "kmeans" else NormalisedCut())


def _level(prior: FrozenPrior, timestep: int, log_snr: float) -> NoiseLevel:
    """A timestep of a discrete schedule; the level it had where it was published of any other."""
    if hasattr(prior.schedule, "alphas_cumprod"):
        return prior.schedule.at_timestep(timestep)
    return prior.schedule.at_log_snr(log_snr)
