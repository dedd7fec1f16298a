"""The plan of the house: rooms and modules of a size that can be read."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES, MODULES = 350, 20


def modules() -> list[Path]:
    folders = ("priors", "sds", "perception", "control", "src/scorefield")
    found = [path.relative_to(ROOT) for name in folders for path in (ROOT / name).rglob("*.py")]
    assert len(found) > 200
    return found


def test_no_module_is_long() -> None:
    lengths = {path.as_posix(): len((ROOT / path).read_text().splitlines()) for path in modules()}
    assert {name: n for name, n in lengths.items() if n > LINES} == {}


def test_no_room_is_crowded() -> None:
    rooms = Counter(path.parent.as_posix() for path in modules() if path.name != "__init__.py")
    assert {room: n for room, n in rooms.items() if n > MODULES} == {}


def test_every_room_says_what_is_in_it() -> None:
    for path in modules():
        if path.name == "__init__.py":
            first = (ROOT / path).read_text().lstrip()
            assert first.startswith('"""'), f"{path} does not say what is in the room"
            words = first[3:].split('"""')[0].strip().splitlines()
            assert 1 <= len(words) <= 12 and words[0].endswith("."), f"{path}: {words[:1]}"
            rooms = [one for one in (ROOT / path).parent.glob("*.py") if one.name[0] != "_"]
            assert len(words) > 1 or len(rooms) < 6, f"{path} does not say what is where"
