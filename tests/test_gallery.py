"""A page of runs: what it finds, what it says of broken folders, and how it looks in a browser."""

import base64
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from scorefield.cli.main import main
from scorefield.files import RUN_VERSION
from scorefield.gallery import write_gallery
from scorefield.gallery.plot import plot
from scorefield.gallery.read import find_runs, read_run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def make_run(folder: Path, prompt: str = "a red mushroom", **config: Any) -> Path:
    """A run with figures, previews and an image."""
    (folder / "previews").mkdir(parents=True)
    config = {"prompt": prompt, RUN_VERSION: "0.1.0", **config}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [json.dumps({"step": step, "loss": 1 / (step + 1)}) for step in range(400)]
    (folder / "metrics.jsonl").write_text("\n".join([*rows, '{"step": 400, "lo']))
    for step in (100, 200):
        image = Image.new("RGB", (8, 8), (step, 0, 0))
        image.save(folder / "previews" / f"{step:06d}.png")
    Image.new("RGB", (8, 8)).save(folder / "views & more.png")
    return folder


def add_model(folder: Path) -> None:
    """A box, its left half red and its right half green."""
    uv = np.array([[0.25, 0.5], [0.75, 0.5]])
    box = trimesh.creation.box([1.0, 0.5, 0.5])
    texture = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8).repeat(8, 0))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture.resize((16, 16), 0))
    box.visual = trimesh.visual.TextureVisuals(
        uv=uv[(box.vertices[:, 0] > 0).astype(int)], material=material
    )
    box.export(folder / "mesh.glb")


def add_scene(folder: Path) -> None:
    """Beside the box a blue ball without a picture, moved by its node."""
    add_model(folder)
    scene = trimesh.load_scene(folder / "mesh.glb")
    ball = trimesh.creation.icosphere(radius=0.3)
    blue = trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 0, 255, 255])
    ball.visual = trimesh.visual.TextureVisuals(material=blue)
    scene.add_geometry(ball, transform=trimesh.transformations.translation_matrix([0, 0.6, 0]))
    scene.export(folder / "mesh.glb")


def page(out: Path) -> str:
    return (out / "index.html").read_text(encoding="utf-8")


def test_a_run_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, cameras={"fov": [40, 40]}))
    assert (run.title, run.problem) == ("a red mushroom", None)
    assert run.config["cameras.fov"] == "[40, 40]"
    steps, values = run.metrics["loss"]
    assert len(steps) == 400 and values[1] == 0.5
    assert list(run.previews) == [100, 200]
    assert [file.name for file in run.images] == ["views & more.png"]


def test_runs_are_found_given_or_inside(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "all" / "a"), make_run(tmp_path / "all" / "b")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    assert find_runs([tmp_path / "all", first, foreign]) == [first, second, foreign]
    with pytest.raises(ValueError, match="is not a folder"):
        find_runs([tmp_path / "missing"])


def test_a_run_may_hold_others(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "mushroom")
    refined = make_run(run / "refined")
    assert find_runs([tmp_path / "runs"]) == find_runs([run]) == [run, refined]


def test_models_of_diffusers_are_no_runs(tmp_path: Path) -> None:
    folder = tmp_path / "prior"
    for part in ("unet", "vae"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    assert find_runs([folder]) == [folder]
    assert read_run(folder).problem == "no run: it has no config.json"
    assert find_runs([folder / "unet"]) == [folder / "unet"]
    assert "is of something else" in read_run(folder / "unet").problem
    run = make_run(folder / "denoiser")
    assert find_runs([folder]) == [run]


def test_the_page_stands_alone_and_says_what_is_broken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", prompt="<script>alert(1)</script>")
    add_model(run)
    (run / "table.md").write_text("| prompt | yes |\n| --- | --- |\n| a <b> | 3/4 |\n")
    broken, foreign = tmp_path / "broken", tmp_path / "foreign"
    broken.mkdir(), foreign.mkdir()
    (broken / "config.json").write_text("{")
    shown = write_gallery([run, broken, foreign], tmp_path / "site")
    assert [one.problem is None for one in shown] == [True, False, False]
    shutil.rmtree(run)
    text = page(tmp_path / "site")
    assert "<h1>1 run, 2 folders without</h1>" in text
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert "a &lt;b&gt;" in text and "cannot be read" in text and "has no config.json" in text
    links = re.findall(r'(?:src|href|data-source)="([^"]*)"', text)
    files = [link for link in links if not link.startswith("data:")]
    assert len(files) >= 5
    for link in files:
        assert (tmp_path / "site" / link.replace("%20", " ").replace("%26", "&")).is_file(), link
    script = next((tmp_path / "site").rglob("*.glb.js")).read_text()
    data = base64.b64decode(re.fullmatch(r'showModel\("(.*)"\)\n', script)[1])
    assert data == next((tmp_path / "site").rglob("*.glb")).read_bytes()


def test_written_again_only_what_changed_is_copied(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_gallery([run], tmp_path / "site")
    before = {file: file.stat().st_ino for file in (tmp_path / "site" / "files").rglob("*.png")}
    Image.new("RGB", (8, 8), "blue").save(run / "previews" / "000300.png")
    write_gallery([run], tmp_path / "site")
    after = {file: file.stat().st_ino for file in (tmp_path / "site" / "files").rglob("*.png")}
    assert len(after) == len(before) + 1 and before.items() <= after.items()
    assert "step 300" in page(tmp_path / "site")


def test_what_is_shown_no_more_is_removed(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("a", "b & c")]
    add_model(runs[0])
    write_gallery(runs, tmp_path / "site")
    write_gallery(runs[1:], tmp_path / "site")
    files = [file for file in (tmp_path / "site" / "files").rglob("*") if file.is_file()]
    assert len(files) == 3
    assert {file.parts[len(tmp_path.parts) + 2] for file in files} == {"run-000"}
    assert not list((tmp_path / "site").rglob("*.glb*"))


def test_one_preview_has_no_slider(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "previews" / "000200.png").unlink()
    write_gallery([run], tmp_path / "site")
    assert 'type="range"' not in page(tmp_path / "site")
    assert "step 100" in page(tmp_path / "site")


def test_a_run_sorted_before_others_shows_its_own_model(tmp_path: Path) -> None:
    """Its number was that of another run, whose model is newer."""
    first, second = make_run(tmp_path / "runs" / "a"), make_run(tmp_path / "runs" / "b")
    add_model(first), add_model(second)
    model = first / "mesh.glb"
    model.write_bytes(model.read_bytes() + b"    ")
    os.utime(model, (1e9, 1e9))
    write_gallery([second], tmp_path / "site")
    write_gallery([tmp_path / "runs"], tmp_path / "site")
    script = tmp_path / "site" / "files" / "run-000" / "mesh.glb.js"
    assert base64.b64encode(model.read_bytes()).decode() in script.read_text()
    written = script.stat().st_ino
    write_gallery([tmp_path / "runs"], tmp_path / "site")
    assert script.stat().st_ino == written


def test_two_hundred_runs_are_no_burden(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    for number in range(200):
        shutil.copytree(run, tmp_path / "many" / f"{number:03d}")
    start = time.process_time()
    assert len(write_gallery([tmp_path / "many"], tmp_path / "site")) == 200
    assert time.process_time() - start < 20
    assert len(page(tmp_path / "site")) < 5_000_000


def test_a_folder_that_holds_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "mine"
    out.mkdir()
    (out / "index.html").write_text("<p>my page</p>")
    assert main(["gallery", str(run), "--out", str(out)]) == 2
    assert "is not empty and no gallery" in capsys.readouterr().err
    assert page(out) == "<p>my page</p>"


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "foreign").mkdir()
    words = ["gallery", str(run), str(tmp_path / "foreign"), "--out", str(tmp_path / "site")]
    assert main([*words, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["runs"] == 2 and metrics["broken"] == [str(tmp_path / "foreign")]


def test_a_long_curve_is_drawn_by_means() -> None:
    ramp = [float(step) for step in range(1000)]
    drawn = plot("loss", ramp, ramp)
    points = np.array(
        [point.split(",") for point in re.search(r'points="([^"]*)"', drawn)[1].split()], float
    )
    assert len(points) == 143  # bins of 7
    np.testing.assert_allclose(points[:, 1], 90 - 90 * points[:, 0] / 300, atol=0.1)
    assert "3 to 996.5, steps 3 to 996" in drawn
    assert "nan" not in plot("flat", [0.0], [3.0])


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs a browser")
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_shows_it(tmp_path: Path, width: int) -> None:
    """The model is drawn and turns, keys work, nothing is fetched, nothing is complained of."""
    playwright = pytest.importorskip("playwright.sync_api")
    for name in ("a", "b", "c"):
        add_scene(make_run(tmp_path / name, prompt=f"run {name}"))
    write_gallery([tmp_path], tmp_path / "site")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=flags)
        tab = browser.new_page(viewport={"width": width, "height": 800})
        requests: list[str] = []
        complaints: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((tmp_path / "site" / "index.html").as_uri())
        canvas = tab.locator("canvas").first
        tab.locator("canvas[data-drawn]").first.wait_for(timeout=60_000)
        first = canvas.screenshot()
        canvas.focus()
        for _ in range(8):
            tab.keyboard.press("ArrowRight")
        tab.wait_for_timeout(500)
        assert canvas.screenshot() != first
        pixels = np.array(Image.open(_saved(tmp_path, canvas.screenshot())).convert("RGB")).astype(
            int
        )
        assert ((pixels[..., 0] > 2 * pixels[..., 1]) & (pixels[..., 0] > 100)).mean() > 0.01  # red
        assert (
            (pixels[..., 2] > 2 * pixels[..., 0]) & (pixels[..., 2] > 100)
        ).mean() > 0.01  # blue
        slider = tab.locator("input[type=range]").first
        slider.focus()
        tab.keyboard.press("ArrowLeft")
        assert "000100" in tab.locator(".previews img").first.get_attribute("src")
        marks = tab.locator(".mark")
        marks.nth(0).check()
        marks.nth(2).check()
        assert tab.locator("article:visible h2").all_inner_texts() == ["run a", "run c"]
        marks.nth(0).uncheck()
        tab.locator("#filter").fill("run b")
        assert tab.locator("article:visible h2").all_inner_texts() == ["run b"]
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert not complaints
    assert requests and all(url.startswith(("file:", "data:", "blob:")) for url in requests)


def _saved(folder: Path, png: bytes) -> Path:
    path = folder / "shot.png"
    path.write_bytes(png)
    return path
