"""Scores of text-to-3D: R-Precision in colour and of bare geometry, Janus faces, the mesh's fit.

R-Precision is the share of a scene's views that lead a judge back to the prompt (Park et al. 2021;
Poole et al. 2022, section 4). The textureless images, in one coat of one colour, tell shape from
paint.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.cameras import orbit
from scorefield.images import contact_sheet, load_image, save_image
from scorefield.priors.frozen_prior import prior_digest
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import RunFolder
from scorefield.runs.job import run
from scorefield.sds.judges import PromptJudge
from scorefield.sds.nerf.assets.mesh import EmptySceneError, extract_surface
from scorefield.sds.nerf.assets.rasterise import silhouette
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.turntable import NORMALS_TO_SEE
from scorefield.sds.nerf.lights import Lights, Shading
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.objective import to_config
from scorefield.sds.prompt_runs import (
    Row,
    answers,
    judge_each,
    lines_for,
    markdown_table,
    normalised,
    write_table,
)

__all__ = ["SceneScores", "evaluate_prompts", "evaluate_scene"]

SIZE = 64
"""Side of the judged images, pixels."""
STRIP = "evaluation.png"
"""A prompt's judged views, in its folder."""


@dataclass(frozen=True)
class SceneScores:
    """One scene, judged: a row of True and False per question, one entry per view.

    azimuths: of the views, degrees.
    retrieved: the coloured view leads back to the prompt (R-Precision).
    category, color: what of it is right; None where nothing is known of it.
    geometry: the textureless view has the right category; by a judge that knows no categories,
        leads back to the prompt.
    janus: per view of the back, whether it looks like a front; empty where there is no front.
    silhouette_iou: intersection over union of the mesh's silhouette and the pixels of opacity
        above 1/2, mean of the views; None without a mesh.
    """

    prompt: str
    azimuths: list[float]
    retrieved: list[bool]
    category: list[bool] | None
    color: list[bool] | None
    geometry: list[bool]
    janus: list[bool]
    silhouette_iou: float | None

    @property
    def r_precision(self) -> float:
        """Share of the views that lead back to the prompt."""
        return sum(self.retrieved) / len(self.retrieved)


def evaluate_scene(
    scene: RadianceField,
    prompt: str,
    judge: PromptJudge,
    azimuths: int = 8,
    elevation: float = 15.0,
    *,
    resolution: int = 128,
) -> SceneScores:
    """Judge a scene from all around.

    Args:
        scene: what to judge.
        prompt: what it should be.
        judge: `WorldJudge` or `ClipJudge`.
        azimuths: number of views, evenly around, the first one from the front.
        elevation: of all views, degrees.
        resolution: points per axis of the mesh's grid.
    """
    judge.check(prompt)
    views = _views(scene, judge.paint(prompt), azimuths, elevation, resolution)
    return _judged(views, prompt, judge)


@dataclass(frozen=True)
class _Views:
    azimuths: list[float]
    color: Float[Tensor, "b 3 h w"]
    geometry: Float[Tensor, "b 3 h w"]
    silhouette_iou: float | None


@torch.no_grad()
def _views(
    scene: RadianceField,
    paint: tuple[float, float, float],
    azimuths: int,
    elevation: float,
    resolution: int,
) -> _Views:
    cameras = orbit(azimuths, elevation)
    black, grey = torch.zeros(3), 0.8
    color, geometry, solid = [], [], []
    for i in range(azimuths):
        camera = cameras[i : i + 1].to(scene.peak.device)
        # Lit from the camera, about as softly as the world's images are.
        lights = Lights.at(camera.position, ambient=0.4, diffuse=0.6)
        seen = scene.render(camera, SIZE, SIZE, samples=128)
        bare = scene.render(
            camera,
            SIZE,
            SIZE,
            samples=128,
            shading=Shading.TEXTURELESS,
            lights=lights,
            normals_per_ray=NORMALS_TO_SEE,
            background=black,
        )
        painted = bare.images.cpu() * torch.tensor(paint)[:, None, None]
        color.append(seen.images.cpu())
        geometry.append(painted + (1 - bare.opacity.cpu()) * grey)
        solid.append(seen.opacity[:, 0].cpu() > 0.5)
    try:
        covered = silhouette(extract_surface(scene, resolution), cameras, SIZE)
    except EmptySceneError:
        fit = None
    else:
        field = torch.cat(solid)
        union = (covered | field).sum((1, 2)).clamp(min=1)
        fit = ((covered & field).sum((1, 2)) / union).mean().item()
    return _Views(cameras.azimuth.tolist(), torch.cat(color), torch.cat(geometry), fit)


def _judged(views: _Views, prompt: str, judge: PromptJudge) -> SceneScores:
    looks, bare = judge.look(views.color, prompt), judge.look(views.geometry, prompt)
    back = [i for i, azimuth in enumerate(views.azimuths) if abs(azimuth - 180) < 45]
    return SceneScores(
        prompt=prompt,
        azimuths=views.azimuths,
        retrieved=looks.retrieved,
        category=looks.category,
        color=looks.color,
        geometry=bare.category or bare.retrieved,
        janus=[] if looks.front is None else [looks.front[i] for i in back],
        silhouette_iou=views.silhouette_iou,
    )


def evaluate_prompts(
    prompts: Sequence[str],
    prior: ImagePrior,
    out: str | os.PathLike[str],
    judge: PromptJudge,
    settings: TextTo3DSettings | None = None,
    *,
    azimuths: int = 8,
    elevation: float = 15.0,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
    asset: AssetSettings | None = None,
) -> dict[str, Any]:
    """Make every prompt, judge it, and write `table.json`, `table.md` and `sheet.png`.

    Each prompt has its own run folder in `out`. With `resume`, judged prompts are not made again,
    an interrupted one goes on at its checkpoint, and failed ones are tried again.

    Args:
        prompts: what to make, all different.
        prior: what they should look like.
        out: a new or empty folder, or with `resume` that of the same evaluation.
        judge: `WorldJudge` or `ClipJudge`.
        settings: of every run; its prompt is replaced. None: the defaults.
        azimuths: number of judged views.
        elevation: of the judged views, degrees.
        resume: go on with the evaluation in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: of each run, as `text_to_3d`.
        checkpoint_every: of each run, as `text_to_3d`.
        asset: of the mesh and the images; None: the defaults.

    Returns:
        The content of `table.json`: "rows", one per prompt, its "status" being "done", "empty"
        (no surface) or "failed" (no scene; all views count as misses), and "totals".

    Raises:
        ValueError: prompts, settings or folder are not accepted; nothing was made.
    """
    prompts = normalised(prompts)
    if azimuths < 1:
        raise ValueError(f"azimuths must be at least 1 view; got {azimuths}")
    settings = settings or TextTo3DSettings(prompts[0])
    for prompt in prompts:
        judge.check(prompt)
        # refuses what it would refuse after the prompts before it
        TextTo3D(prior, replace(settings, prompt=prompt))
    common = {**asdict(settings), "objective": to_config(settings.objective)}
    del common["prompt"]
    config = {
        "prompts": prompts,
        "settings": common,
        "prior": prior.name,
        "weights": prior_digest(prior),
        "judge": judge.name,
        "azimuths": azimuths,
        "elevation": elevation,
    }
    owned = RunFolder.create(out, config, resume, free=())  # as long as it lives
    folder = owned.path

    def make(prompt: str, path: Path) -> Row:
        task = TextTo3D(prior, replace(settings, prompt=prompt), asset=asset)
        ended: Row = {}
        try:
            run(
                task,
                path,
                resume=True,
                progress=progress,
                preview_every=preview_every,
                checkpoint_every=checkpoint_every,
            )
        except EmptySceneError as error:
            ended = {"status": "empty", "reason": str(error)}
        views = _views(
            task.scene,
            judge.paint(prompt),
            azimuths,
            elevation,
            task.asset.mesh_resolution,
        )
        save_image(path / STRIP, _strip(prompt, views, azimuths))
        return asdict(_judged(views, prompt, judge)) | ended

    def missed(prompt: str, path: Path) -> Row:
        save_image(path / STRIP, _strip(prompt, None, azimuths))
        return asdict(_misses(prompt, judge, azimuths))

    rows = judge_each(prompts, folder, make, missed, progress=progress)
    strips = [load_image(folder / row["folder"] / STRIP) for row in rows]
    save_image(folder / "sheet.png", torch.cat(strips, dim=1))
    return write_table(folder, config, rows, _totals(rows), _markdown)


def _misses(prompt: str, judge: PromptJudge, azimuths: int) -> SceneScores:
    """The scores of a scene that was never made: every view is a miss, none shows two faces."""
    blank = torch.full((azimuths, 3, SIZE, SIZE), 0.5)
    views = _Views(orbit(azimuths).azimuth.tolist(), blank, blank, None)
    scores, miss = _judged(views, prompt, judge), [False] * azimuths
    return replace(
        scores,
        retrieved=miss,
        category=scores.category and miss,
        color=scores.color and miss,
        geometry=miss,
        janus=[],
    )


def _strip(prompt: str, views: _Views | None, azimuths: int) -> Float[Tensor, "3 height width"]:
    """The coloured views in a row, grey if there are none, with the prompt's words beneath."""
    labels = (lines_for(prompt, SIZE // 6) + [""] * azimuths)[:azimuths]
    blank = torch.full((azimuths, 3, SIZE, SIZE), 0.5)
    return contact_sheet(blank if views is None else views.color, azimuths, labels)


_QUESTIONS = {
    "retrieved": "R-Precision",
    "category": "category",
    "color": "colour",
    "geometry": "geometry",
    "janus": "Janus",
}


def _totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Over all prompts: how many views of how many are right, and the mean fit."""
    fits = [row["silhouette_iou"] for row in rows if row["silhouette_iou"] is not None]
    fit = {"mean": sum(fits) / len(fits) if fits else None, "of": len(fits)}
    empty = sum(row["status"] == "empty" for row in rows)
    asked = {question: answers(rows, question) for question in _QUESTIONS}
    return {"empty": empty, **asked, "silhouette_iou": fit}


def _markdown(table: Mapping[str, Any]) -> str:
    fits = [row["silhouette_iou"] for row in table["rows"]]
    mean = table["totals"]["silhouette_iou"]["mean"]
    shown = ["-" if fit is None else f"{fit:.2f}" for fit in [*fits, mean]]
    notes = (
        f"Views of {table['azimuths']} azimuths at elevation {table['elevation']:g}, judged by "
        f"{table['judge']}; prior {table['prior']}. Janus counts views of the back that look like "
        "a front. A prompt without a scene counts as misses."
    )
    return markdown_table(table, _QUESTIONS, {"silhouette IoU": (shown[:-1], shown[-1])}, notes)
