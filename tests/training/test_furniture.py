"""The recipe of `objects`: its catalogue, meshes and views, on a catalogue made here."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import load_file
from untrained import narrow_codec, narrow_denoiser, untrained_shapes

from scorefield.cameras import Cameras
from scorefield.priors import load_prior
from scorefield.training import pictures
from scorefield.training.furniture import catalogue, recipe
from scorefield.training.furniture.catalogue import SOURCES, FurnitureModel, read_catalogue
from scorefield.training.furniture.models import PaintedMesh, load_model
from scorefield.training.furniture.recipe import caption_of, train_objects
from scorefield.training.furniture.views import COLORS, Renderer, ViewSettings, draw_view
from scorefield.training.recipes import PictureSettings
from scorefield.training.settings import TrainingSettings

IDENTITY = "1 0 0 0 1 0 0 0 1"
NAMES = [*["Wooden table"] * 2, *["Oak table", "Table", "Coffee table", "Glass table"]]
NAMES += ["Vase", "Front door", "Wall switch", "Concept Sedan 02"]


@pytest.fixture
def furniture(tmp_path: Path) -> Path:
    """What the package unpacks to: a box with a red front (+z of the file) for every name."""
    folder = tmp_path / "furniture"
    for source in SOURCES:
        (folder / source / "models").mkdir(parents=True)
        (folder / source / catalogue._LIST).write_text("# nothing\n", "latin-1")
    write_box(folder / "Scopia" / "models")
    lines = []
    for number, name in enumerate(NAMES, 1):
        entry = {"name": name, "model": "/models/box.obj", "creator": f"maker {number % 4}"}
        entry |= {"width": "100", "depth": "50", "height": "200", "doorOrWindow": "false"}
        if name == "Front door":
            entry["doorOrWindow"] = "true"
        lines += [f"{key}#{number}={value}" for key, value in entry.items()]
    (folder / "Scopia" / catalogue._LIST).write_text("\n".join(lines), "latin-1")
    return folder


def write_box(folder: Path, rest: str = "Kd 0 0 1") -> None:
    """A unit box as OBJ: its front red by a texture, the other sides of another material."""
    box = trimesh.creation.box()
    front = box.face_normals[:, 2] > 0.9
    lines = ["mtllib box.mtl", "vt 0.5 0.5"]
    lines += [f"v {x} {y} {z}" for x, y, z in box.vertices]
    for name, chosen in (("front", front), ("rest", ~front)):
        lines.append(f"usemtl {name}")
        lines += [" ".join(["f", *(f"{i + 1}/1" for i in face)]) for face in box.faces[chosen]]
    (folder / "box.obj").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (4, 4), "red").save(folder / "red.png")
    material = f"newmtl front\nmap_Kd red.png\nnewmtl rest\n{rest}\n"
    (folder / "box.mtl").write_text(material)


def view(azimuth: float, elevation: float = 0.0, color: str | None = None) -> ViewSettings:
    light = np.array([1.0, 0.0, 0.0])
    return ViewSettings(azimuth, elevation, 3.0, color, light, 1.0, np.ones((2, 3)))


def model(folder: Path, rotation: str = IDENTITY) -> FurnitureModel:
    numbers = tuple(map(float, rotation.split()))
    path = folder / "Scopia" / "models" / "box.obj"
    return FurnitureModel(path, "box", "box", (100, 200, 50), numbers, "Scopia", "maker")


def red_faces(mesh: PaintedMesh) -> np.ndarray:
    """Corners of the faces that the red texture is on."""
    first = mesh.textures[mesh.material, 0]
    return mesh.vertices[mesh.texels[first, 0] > 0.9]


def test_names_become_nouns_and_what_is_no_thing_is_left_out(furniture: Path) -> None:
    models = read_catalogue(furniture)
    assert [m.noun for m in models] == [*["table"] * 6, "vase", "car"]
    assert models[0].name == "wooden table"
    assert models[-1].name == "car"  # no brand in a caption


def test_models_for_judging_are_apart_by_maker_and_name(furniture: Path) -> None:
    models = read_catalogue(furniture)
    apart = [m for m in models if m.held_out]
    assert [m.noun for m in apart] == ["table"]  # one of six; the vase and the car are too few
    kept = {(m.creator, m.name) for m in models if not m.held_out}
    assert not kept & {(m.creator, m.name) for m in apart}
    assert models == read_catalogue(furniture)


def test_the_catalogue_turns_and_stretches(furniture: Path) -> None:
    """Its width, height and depth are our y, z and x; its front, +z, is our +x."""
    mesh = load_model(model(furniture))
    extents = np.ptp(mesh.vertices.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(extents / extents[0], [1, 2, 4], rtol=1e-6)
    assert np.linalg.norm(mesh.vertices, axis=-1).max() == pytest.approx(1)
    red = red_faces(mesh)
    assert (red[..., 0] == red[..., 0].max()).all()
    quarter = "0 0 1 0 1 0 -1 0 0"  # about y: the front, +z, goes to +x, which is our +y
    turned = load_model(model(furniture, quarter))
    red = red_faces(turned)
    assert (red[..., 1] == red[..., 1].max()).all()


def test_a_view_shows_the_side_that_the_camera_faces(furniture: Path) -> None:
    """The front is red from azimuth 0, the rest blue, and each covers what its size says."""
    renderer = Renderer(load_model(model(furniture)))
    size = 64
    for azimuth, width, depth, channel in ((0, 2, 1, 0), (90, 1, 2, 2), (180, 2, 1, 2)):
        image = renderer.render(view(azimuth), size)
        ink = image.min(-1) < 0.5
        unit = 1 / math.sqrt(2**2 + 4**2 + 1)  # the box is 1 x 2 x 4 halves of it
        focal = Cameras.at(0.0).focal(size).item()
        expected = 2 * width * unit * 2 * 4 * unit * (focal / (3 - depth * unit)) ** 2
        assert ink.sum() == pytest.approx(expected, rel=0.1)
        assert (image[ink].argmax(-1) == channel).all()


def test_painted_things_have_the_colour_of_the_word(furniture: Path) -> None:
    renderer = Renderer(load_model(model(furniture)))
    image = renderer.render(view(0, color="green"))
    ink = image.min(-1) < 0.5
    assert (image[ink].argmax(-1) == 1).all()


def test_glass_lets_through_what_is_behind(furniture: Path) -> None:
    write_box(furniture / "Scopia" / "models", "Kd 0 0 1\nd 0.5")
    image = Renderer(load_model(model(furniture))).render(view(180))
    middle = image[32, 32]
    # half the light is of the back, half of the front's inner side, which is red and opaque
    assert middle[0] == pytest.approx(middle[2], rel=0.05)
    assert middle[1] < 0.05


def test_captions_say_the_thing_and_its_paint() -> None:
    rng = np.random.default_rng(0)
    thing = FurnitureModel(Path("a"), "oak chair", "chair", (1, 1, 1), (), "Scopia", "maker")
    captions = {
        caption_of(rng, thing, view(0, color=c)) for c in (None, "orange") for _ in range(40)
    }
    ground = ", white background"
    plain = {"a chair", "an oak chair", "an orange chair", "an orange oak chair"}
    assert captions == plain | {caption + ground for caption in plain}
    flowers = FurnitureModel(Path("a"), "flowers", "flowers", (1, 1, 1), (), "Scopia", "maker")
    assert caption_of(rng, flowers, view(0)).startswith("flowers")
    cactus = FurnitureModel(Path("a"), "cactus", "cactus", (1, 1, 1), (), "Scopia", "maker")
    assert caption_of(rng, cactus, view(0)).startswith("a cactus")


def test_views_are_drawn_around_and_inside_the_ranges() -> None:
    views = [draw_view(np.random.default_rng([0, i])) for i in range(200)]
    azimuths = np.array([one.azimuth for one in views])
    assert np.histogram(azimuths, 4, (-180, 180))[0].min() > 30
    assert all(-10 <= one.elevation <= 88 and 2.8 <= one.distance <= 3.2 for one in views)
    assert 0.1 < np.mean([one.plain for one in views]) < 0.26  # 0.3 on white, 0.6 of them unpainted
    for i, one in enumerate(views):
        plain = draw_view(np.random.default_rng([0, i]), plain=True)
        assert plain.white
        assert plain.color is None
        assert (plain.azimuth, plain.distance) == (one.azimuth, one.distance)


def test_a_whole_tiny_training(
    furniture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "fetch_furniture", lambda out, package: furniture)
    monkeypatch.setattr(pictures, "make_codec", narrow_codec)
    monkeypatch.setattr(pictures, "TextToLatents", narrow_denoiser)
    settings = TrainingSettings(steps=2, batch_size=2, warmup=1)
    out = tmp_path / "out"
    start = untrained_shapes(tmp_path / "start")
    folder = train_objects(
        out,
        views=12,
        other_views=0,
        pictures=PictureSettings(channels=6, start=start),
        codec=settings,
        denoiser=settings,
        progress=False,
    )
    prior = load_prior(folder)
    assert prior.cameras is not None
    assert prior.cameras.fov == (40.0, 40.0)
    images = prior.generate(["a red table"], cameras=Cameras.at(90.0, 20.0), steps=2, seed=0)
    assert images.shape == (1, 3, 64, 64)
    assert torch.isfinite(images).all()
    captions = (out / "captions.txt").read_text("utf-8").split("\n")[:-1]
    assert all("table" in caption for caption in captions)
    views = load_file(out / "views.safetensors")
    corners = (views["views"][:, ::63, ::63] == 255).all((1, 2, 3))
    told = [caption.removesuffix(", white background").split() for caption in captions]
    painted = torch.tensor([any(color in words for color in COLORS) for words in told])
    assert torch.equal(views["plain"], corners & ~painted)
    assert 0.5 <= views["plain"].float().mean() < 0.8
    held_out = sorted((out / "held-out").rglob("*.png"))
    assert {path.parent.name for path in held_out} == {"table"}


def test_what_is_missing_is_named(furniture: Path, tmp_path: Path) -> None:
    (furniture / "KatorLegaz" / catalogue._LIST).unlink()
    with pytest.raises(ValueError, match=r"KatorLegaz.*is missing; remove"):
        read_catalogue(furniture)
    broken = model(furniture)
    broken.path.write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"box\.obj: (has 0 faces|cannot be read)"):
        load_model(broken)
    with pytest.raises(ValueError, match=r"dpkg-deb.*(failed|not installed)"):
        catalogue.fetch_furniture(tmp_path / "new", tmp_path / "none.deb")
