"""A finished scene as files: mesh, turntable and a sheet of views."""

import os
from pathlib import Path

from tqdm import tqdm

from scorefield.cameras import orbit
from scorefield.images import save_gif, save_image
from scorefield.sds.nerf.assets.asset import make_asset
from scorefield.sds.nerf.assets.mesh import EmptySceneError
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.surface_views import asset_views
from scorefield.sds.nerf.assets.turntable import save_turntable, view_sheet
from scorefield.sds.nerf.radiance_field import RadianceField

__all__ = ["export_scene"]


def export_scene(
    scene: RadianceField,
    folder: str | os.PathLike[str],
    settings: AssetSettings | None = None,
    *,
    title: str = "object",
    progress: bool = False,
) -> dict[str, Path]:
    """Write `views.png`, `turntable.gif` and the textured mesh (.glb, .obj, .ply) of a scene.

    The views are of the field above and of the mesh below, the turntable is of the mesh.

    Args:
        scene: what to write.
        folder: where; made if missing.
        settings: of the mesh and the images; None: the defaults.
        title: what the object is called in its files.
        progress: whether to show a progress bar on standard error.

    Returns:
        The written files by what they are: "views", "turntable", "glb", "obj", "ply", and the
        "mtl" and "png" that belong to the .obj.

    Raises:
        EmptySceneError: there is no surface; the images are `written` all the same, of the field
            alone.
    """
    settings = settings or AssetSettings()
    folder = Path(folder)
    size = settings.render_size
    with (
        scene.field.held(),
        tqdm(total=3, desc="mesh", disable=not progress, dynamic_ncols=True) as bar,
    ):
        sheet, turn = folder / "views.png", folder / "turntable.gif"
        try:
            mesh = make_asset(scene, settings)
        except EmptySceneError as error:
            written = {
                "views": save_image(sheet, view_sheet(scene, size)),
                "turntable": save_turntable(scene, turn, settings.frames, size),
            }
            message = f"no mesh: {error}; the images are in {folder}"
            raise EmptySceneError(message, written) from error
        paths = export_mesh(mesh, folder, title=title, up=settings.up, usdz=settings.usdz)
        bar.update()
        bar.set_description("views")
        written = {"views": save_image(sheet, view_sheet(scene, size, mesh=mesh))}
        bar.update()
        bar.set_description("turntable")
        written["turntable"] = save_gif(turn, asset_views(mesh, orbit(settings.frames), size))
        written |= {path.suffix[1:]: path for path in paths}
        bar.update()
    return written
