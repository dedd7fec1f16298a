"""Perception by a frozen prior: correspondence, segmentation, zero-shot classification."""

from scorefield.perception.classification.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
)
from scorefield.perception.classification.classify import Classification, classify
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.noise_inflation import noise_inflation
from scorefield.perception.classification.stopping import Policy, Race, Stages
from scorefield.perception.classification.text_scores import TextScores, text_scores
from scorefield.perception.correspondence.dift import (
    DiftPreset,
    dift_features,
    dift_preset,
    join_maps,
    match_pictures,
)
from scorefield.perception.correspondence.drawing import draw_matches
from scorefield.perception.correspondence.matching import (
    Matches,
    NearestPixel,
    SoftArgmax,
    match,
    mutual_matches,
    nearest_cell,
)
from scorefield.perception.correspondence.propagation import (
    propagate_edit,
    propagate_labels,
    resize_labels,
)
from scorefield.perception.correspondence_evaluation import (
    CorrespondenceSettings,
    evaluate_correspondence,
)
from scorefield.perception.segmentation.clustering import (
    FeatureClusters,
    KMeansClusters,
    NormalisedCut,
    bilinear_masks,
    guided_masks,
    nearest_masks,
)
from scorefield.perception.segmentation.drawing import draw_labels, draw_overlay, save_labels
from scorefield.perception.segmentation.emerdiff import EmerDiff
from scorefield.perception.segmentation.metrics import boundary_f, image_miou, set_miou
from scorefield.perception.segmentation.presets import clusters_preset, emerdiff_preset
from scorefield.perception.segmentation.segment import Segmentation, cell_labels, segment
from scorefield.perception.segmentation_evaluation import (
    SegmentationSettings,
    evaluate_segmentation,
)
from scorefield.perception.world_pairs import SemanticPair, draw_pairs

__all__ = [
    "Classification",
    "CorrespondenceSettings",
    "DiftPreset",
    "EmerDiff",
    "ErrorMeasure",
    "FeatureClusters",
    "KMeansClusters",
    "Matches",
    "NearestPixel",
    "NormalisedCut",
    "Policy",
    "Race",
    "Segmentation",
    "SegmentationSettings",
    "SemanticPair",
    "SoftArgmax",
    "Stages",
    "TextScores",
    "bilinear_masks",
    "boundary_f",
    "brier_score",
    "cell_labels",
    "classify",
    "clusters_preset",
    "dift_features",
    "dift_preset",
    "draw_labels",
    "draw_matches",
    "draw_overlay",
    "draw_pairs",
    "emerdiff_preset",
    "evaluate_correspondence",
    "evaluate_segmentation",
    "expected_calibration_error",
    "fit_temperature",
    "guided_masks",
    "image_miou",
    "join_maps",
    "match",
    "match_pictures",
    "mutual_matches",
    "nearest_cell",
    "nearest_masks",
    "noise_inflation",
    "propagate_edit",
    "propagate_labels",
    "resize_labels",
    "save_labels",
    "segment",
    "set_miou",
    "text_scores",
]
