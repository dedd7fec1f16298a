"""Cameras in nerfstudio's convention, and a run's views as a data set; nerfstudio is not needed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from scorefield.cameras import Cameras, view_prompt
from scorefield.cli.main import main
from scorefield.runs import RunFolder
from scorefield.sds import RadianceField, TextTo3DSettings
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.nerfstudio.conventions import Pinholes, from_pinholes, to_pinholes
from scorefield.sds.nerf.nerfstudio.dataset import rings, save_dataset, transforms
from scorefield.sds.nerf.scene_distillation import begin_scene, load_scene

DOUBLE = torch.float64


class Ball(Field):
    """A translucent ball around (0.3, 0, 0), of one colour."""

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        inside = (points - points.new_tensor([0.3, 0.0, 0.0])).norm(dim=-1) < 0.3
        return 4.0 * inside, points.new_tensor([0.8, 0.2, 0.1]).expand(len(points), 3)


def rays(pinholes: Pinholes) -> tuple[Tensor, Tensor]:
    """Origins and directions as nerfstudio's documentation of its cameras states them, restated.

    The direction of pixel (x, y) is R ((x + 0.5 - cx) / fx, -(y + 0.5 - cy) / fy, -1), normalised;
    the columns of R are right, up and backwards.
    """
    pose, focal = pinholes.camera_to_world, pinholes.focal
    origins, directions = [], []
    for k in range(len(focal)):
        for y in range(pinholes.height):
            for x in range(pinholes.width):
                at = (
                    (x + 0.5 - pinholes.width / 2) / focal[k] * pose[k, :, 0]
                    - (y + 0.5 - pinholes.height / 2) / focal[k] * pose[k, :, 1]
                    - pose[k, :, 2]
                )
                origins.append(pose[k, :, 3])
                directions.append(at / at.norm())
    shape = (len(focal), -1, 3)
    return torch.stack(origins).view(shape), torch.stack(directions).view(shape)


def some_cameras(dtype: torch.dtype = torch.float32) -> Cameras:
    """Eight of DreamFusion's, rolled and looking past the origin, and two straight up and down."""
    drawn = CameraDistribution.dreamfusion().draw(8, torch.Generator().manual_seed(3))
    poles = Cameras.at([20.0, 20.0], [90.0, -90.0])
    pairs = zip(vars(drawn).values(), vars(poles).values(), strict=True)
    return Cameras(*(torch.cat(pair) for pair in pairs)).to(dtype=dtype)


def test_rays_are_those_of_the_closed_form() -> None:
    cameras = some_cameras()
    origins, directions = rays(to_pinholes(cameras, 4, 6))
    expected = cameras.origins_and_directions(4, 6)
    torch.testing.assert_close(origins, expected[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(directions, expected[1], atol=1e-6, rtol=0)


def test_cameras_come_back_with_the_same_rays_and_views() -> None:
    cameras = some_cameras(DOUBLE)
    back = from_pinholes(to_pinholes(cameras, 4, 6))
    for found, expected in zip(
        back.origins_and_directions(4, 6), cameras.origins_and_directions(4, 6), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert back.views == cameras.views
    torch.testing.assert_close(back.fov, cameras.fov)
    torch.testing.assert_close(back.distance, cameras.distance)


def test_a_camera_in_the_origin_keeps_its_rays() -> None:
    pose = torch.eye(4, dtype=DOUBLE)[None, :3]
    pinholes = Pinholes(pose, torch.tensor([5.0], dtype=DOUBLE), 4, 4)
    found = from_pinholes(pinholes).origins_and_directions(4, 4)
    for one, expected in zip(found, rays(pinholes), strict=True):
        torch.testing.assert_close(one, expected, atol=1e-6, rtol=0)


def test_rings_surround_the_object_and_are_turned() -> None:
    cameras = rings(4, (0.0, 30.0))
    assert cameras.azimuth.tolist() == [0, 90, 180, 270, 45, 135, 225, 315]
    assert cameras.elevation.tolist() == [0] * 4 + [30] * 4
    with pytest.raises(ValueError, match="give frames and an elevation"):
        rings(4, ())


def test_transforms_say_where_a_point_appears() -> None:
    """A world point projects, by the file alone, to the pixel that the camera sees it in."""
    cameras = rings(5, (-10.0, 40.0))
    content = json.loads(json.dumps(transforms(cameras, 64, [str(k) for k in range(10)])))
    point = torch.tensor([0.2, -0.1, 0.4])
    pixels, depth = cameras.project(point.expand(10, 1, 3), 64, 64)
    for k, frame in enumerate(content["frames"]):
        pose = np.array(frame["transform_matrix"])
        x, y, z, one = np.linalg.inv(pose) @ [*point.tolist(), 1.0]
        seen = [content["cx"] + content["fl_x"] * x / -z, content["cy"] - content["fl_y"] * y / -z]
        np.testing.assert_allclose(seen, pixels[k, 0].numpy(), atol=1e-3)
        assert -z == pytest.approx(depth[k, 0].item(), abs=1e-5)
        assert one == 1
    # the field of view again, as instant-ngp's oldest files say it
    assert content["camera_angle_x"] == pytest.approx(math.radians(40))
    assert (content["w"], content["h"]) == (64, 64)


def test_cameras_of_several_fields_of_view_are_refused() -> None:
    with pytest.raises(ValueError, match="one field of view"):
        transforms(Cameras.at([0.0, 1.0], fov=[40.0, 50.0]), 8, ["a", "b"])


def test_images_hold_colours_that_are_not_multiplied_by_the_opacity(tmp_path: Path) -> None:
    """The ball is where its camera has it, its colour whole where it is translucent."""
    written = save_dataset(RadianceField(Ball()), tmp_path / "data", rings(4, (0.0,)), 32)
    frames = json.loads(written.read_text())["frames"]
    assert len(frames) == 4
    with Image.open(written.parent / frames[1]["file_path"]) as image:
        assert (image.mode, image.size) == ("RGBA", (32, 32))
        side = np.asarray(image, dtype=float) / 255  # from +y, where +x is to the left
    opacity = side[..., 3]
    assert opacity[:, :16].sum() > 20 > 1 > opacity[:, 16:].sum()
    seen = opacity > 0.05
    assert opacity.max() < 0.95
    np.testing.assert_allclose(side[seen][:, :3], [[0.8, 0.2, 0.1]] * seen.sum(), atol=0.01)


def saved_run(folder: Path, **changes: object) -> RadianceField:
    """A run folder of a scene that has just begun, slightly changed."""
    settings = TextTo3DSettings("a red mushroom")
    scene = begin_scene(settings)
    with torch.no_grad():
        for values in scene.field.parameters():
            values += 0.01
    run = RunFolder.create(folder, {"prompt": settings.prompt, "field": settings.field} | changes)
    run.save_checkpoint(3, {"scene": scene.state_dict()})
    return scene


def test_a_run_becomes_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = saved_run(tmp_path / "run")
    loaded, prompt = load_scene(tmp_path / "run")
    assert prompt == "a red mushroom"
    for name, value in scene.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    out = tmp_path / "data"
    words = ["nerfstudio", "dataset", str(tmp_path / "run"), "--out", str(out), "--size", "8"]
    words += ["--frames", "2", "--elevations", "0", "30", "--samples", "8", "--json", "--quiet"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 4 and Path(told["transforms"]) == out / "transforms.json"
    assert len(list((out / "images").iterdir())) == 4
    assert not list(tmp_path.glob(".*"))


def test_what_is_no_run_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    saved_run(tmp_path / "own", field="Ball")
    RunFolder.create(tmp_path / "begun", {"prompt": "a red mushroom", "field": "voxels"})
    saved_run(tmp_path / "other", field="hash")
    reasons = {
        "empty": "holds no run of text-to-3d",
        "own": "a field of one's own, Ball",
        "begun": "has no checkpoint yet",
        "other": "is of another scene",
    }
    for name, reason in reasons.items():
        folder, out = tmp_path / name, tmp_path / "data"
        assert main(["nerfstudio", "dataset", str(folder), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert reason in error and str(folder) in error and error.count("\n") == 1
        assert not out.exists()


def test_views_are_named_as_by_their_prompts() -> None:
    cameras = Cameras.at([0.0, 90.0, 180.0, 0.0], [0.0, 0.0, 0.0, 80.0])
    views = from_pinholes(to_pinholes(cameras, 8, 8))
    assert [view_prompt("a duck", view) for view in views.views] == [
        "a duck, front view",
        "a duck, side view",
        "a duck, back view",
        "a duck, overhead view",
    ]
