"""Score distillation: generators optimised along the score of a frozen prior."""

from scorefield.sds.cameras import CameraDistribution, Cameras, orbit, view_prompt
from scorefield.sds.evaluation import SceneScores, evaluate_prompts, evaluate_scene
from scorefield.sds.fields import Field, HashGrid, TriPlane, VoxelGrid
from scorefield.sds.finish import finish, text_to_3d
from scorefield.sds.judges import ClipJudge, PromptJudge, WorldJudge
from scorefield.sds.levels import LevelRange
from scorefield.sds.mesh import EmptySceneError, export_mesh, extract_mesh, silhouette
from scorefield.sds.nerf import Lights, Rendering, Scene, Shading, Sky
from scorefield.sds.objective import (
    Difference,
    Distilled,
    Point,
    Weight,
    distill,
    sds_difference,
    sigma_squared,
    uniform,
)
from scorefield.sds.penalties import (
    entropy_penalty,
    opacity_penalty,
    orientation_penalty,
    spread_penalty,
)
from scorefield.sds.scene_distillation import TextTo3D, TextTo3DSettings
from scorefield.sds.turntable import render_views, save_turntable, view_sheet

__all__ = [
    "CameraDistribution",
    "Cameras",
    "ClipJudge",
    "Difference",
    "Distilled",
    "EmptySceneError",
    "Field",
    "HashGrid",
    "LevelRange",
    "Lights",
    "Point",
    "PromptJudge",
    "Rendering",
    "Scene",
    "SceneScores",
    "Shading",
    "Sky",
    "TextTo3D",
    "TextTo3DSettings",
    "TriPlane",
    "VoxelGrid",
    "Weight",
    "WorldJudge",
    "distill",
    "entropy_penalty",
    "evaluate_prompts",
    "evaluate_scene",
    "export_mesh",
    "extract_mesh",
    "finish",
    "opacity_penalty",
    "orbit",
    "orientation_penalty",
    "render_views",
    "save_turntable",
    "sds_difference",
    "sigma_squared",
    "silhouette",
    "spread_penalty",
    "text_to_3d",
    "uniform",
    "view_prompt",
    "view_sheet",
]
