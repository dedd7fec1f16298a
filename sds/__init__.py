"""Score distillation: generators optimised along the score of a frozen prior."""

from scorefield.sds.cameras import CameraDistribution, Cameras, orbit, view_prompt
from scorefield.sds.distillation import (
    Distillation,
    DistillationSettings,
    ModuleDistillation,
)
from scorefield.sds.evaluation import SceneScores, evaluate_prompts, evaluate_scene
from scorefield.sds.fields import Field, HashGrid, TriPlane, VoxelGrid
from scorefield.sds.finish import finish, text_to_3d
from scorefield.sds.image_distillation import (
    ImageDistillation,
    ImageEdit,
    ImageSettings,
    edit_image,
)
from scorefield.sds.judges import ClipJudge, ClipRank, PromptJudge, WorldJudge
from scorefield.sds.levels import DreamTime, LevelRange, Levels
from scorefield.sds.mesh import EmptySceneError, export_mesh, extract_mesh, silhouette
from scorefield.sds.nerf import Lights, Rendering, Scene, Shading, Sky
from scorefield.sds.objective import (
    SDS,
    Denoisers,
    Distilled,
    Objective,
    Point,
    Weight,
    distill,
    image_loss,
    noise_to_signal,
    sigma_squared,
    uniform,
)
from scorefield.sds.objectives import (
    CSD,
    DDS,
    ISM,
    NFSD,
    PDS,
    SDI,
    SJC,
    VSD,
    Bridge,
    LowRank,
    Phi,
    SmallNetwork,
    begin_phi,
)
from scorefield.sds.penalties import (
    entropy_penalty,
    opacity_penalty,
    orientation_penalty,
    spread_penalty,
)
from scorefield.sds.scene_distillation import TextTo3D, TextTo3DSettings
from scorefield.sds.turntable import render_views, save_turntable, view_sheet
from scorefield.sds.view_negatives import view_negatives

__all__ = [
    "CSD",
    "DDS",
    "ISM",
    "NFSD",
    "PDS",
    "SDI",
    "SDS",
    "SJC",
    "VSD",
    "Bridge",
    "CameraDistribution",
    "Cameras",
    "ClipJudge",
    "ClipRank",
    "Denoisers",
    "Distillation",
    "DistillationSettings",
    "Distilled",
    "DreamTime",
    "EmptySceneError",
    "Field",
    "HashGrid",
    "ImageDistillation",
    "ImageEdit",
    "ImageSettings",
    "LevelRange",
    "Levels",
    "Lights",
    "LowRank",
    "ModuleDistillation",
    "Objective",
    "Phi",
    "Point",
    "PromptJudge",
    "Rendering",
    "Scene",
    "SceneScores",
    "Shading",
    "Sky",
    "SmallNetwork",
    "TextTo3D",
    "TextTo3DSettings",
    "TriPlane",
    "VoxelGrid",
    "Weight",
    "WorldJudge",
    "begin_phi",
    "distill",
    "edit_image",
    "entropy_penalty",
    "evaluate_prompts",
    "evaluate_scene",
    "export_mesh",
    "extract_mesh",
    "finish",
    "image_loss",
    "noise_to_signal",
    "opacity_penalty",
    "orbit",
    "orientation_penalty",
    "render_views",
    "save_turntable",
    "sigma_squared",
    "silhouette",
    "spread_penalty",
    "text_to_3d",
    "uniform",
    "view_negatives",
    "view_prompt",
    "view_sheet",
]
