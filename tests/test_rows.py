"""Rows of results are kept as they are known, and a job that was killed comes to the same rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from scorefield.rows import RowStore, first_difference, read_rows

SETTINGS = {"seed": 3, "method": {"steps": 4, "levels": (1.0, 2.0)}}


def squares(path: Path | None, stop: int, calls: list[int]) -> list[dict[str, Any]]:
    store = RowStore(path, SETTINGS, ["of"])

    def square(of: int) -> dict[str, Any]:
        calls.append(of)
        return {"square": of**2, "pair": (of, of)}

    return [store.once(lambda of=of: square(of), of=of) for of in range(stop)]  # type: ignore[misc]


def test_a_job_killed_at_any_byte_comes_to_the_same_file_and_does_nothing_twice(
    tmp_path: Path,
) -> None:
    whole, part = tmp_path / "whole" / "rows.jsonl", tmp_path / "part.jsonl"
    rows = squares(whole, 3, [])
    assert rows == squares(None, 3, [])
    text = whole.read_text()
    for cut in range(len(text) + 1):
        part.write_text(text[:cut])
        calls: list[int] = []
        assert squares(part, 3, calls) == rows
        done = max(0, text[:cut].count("\n") - 1)  # without the line of settings
        assert calls == [0, 1, 2][done:] and part.read_text() == text


def test_a_row_comes_back_as_the_file_has_it(tmp_path: Path) -> None:
    assert squares(tmp_path / "rows.jsonl", 1, []) == [{"of": 0, "square": 0, "pair": [0, 0]}]


def test_the_later_row_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    store = RowStore(path, {}, ["a", "b"])
    store.add({"a": 1, "b": 2, "value": "bad"}, {"a": 1, "b": 3, "value": "good"})
    store.add({"a": 1, "b": 2, "value": "mended"})
    for one in (store, RowStore(path, {}, ["a", "b"])):
        assert [row["value"] for row in one.rows] == ["mended", "good"]
        assert one.get(a=1, b=2) == {"a": 1, "b": 2, "value": "mended"}
        assert one.get(a=2, b=1) is None
    assert len(read_rows(path)) == 4


def test_a_row_without_its_key_is_not_written(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "rows.jsonl", {}, ["of"])
    before = (tmp_path / "rows.jsonl").read_text()
    with pytest.raises(KeyError):
        store.add({"of": 1}, {"other": 2})
    assert (tmp_path / "rows.jsonl").read_text() == before and store.rows == []


@pytest.mark.parametrize(
    "text", ['{"step": 1}\n', "no json\n", '{"settings": {}}\n{"square": 4}\n', "[]\n", "3\n"]
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="does not hold rows of results with of"):
        RowStore(path, {}, ["of"])
    assert path.read_text() == text


def test_rows_of_other_settings_are_refused_with_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    squares(path, 1, [])
    other = {**SETTINGS, "method": {"steps": 5, "levels": (1.0, 2.0)}}
    with pytest.raises(ValueError, match=r"made with method\.steps = 4, now method\.steps = 5"):
        RowStore(path, other, ["of"])


def test_the_first_difference_passes_over_what_is_free() -> None:
    saved = {"a": 1, "group": {"b": 2, "c": [3]}}
    assert first_difference(saved, json.loads(json.dumps(saved))) is None
    changed = {"a": 9, "group": {"b": 8, "c": [3]}, "new": True}
    assert first_difference(saved, changed) == ("a", "1", "9")
    assert first_difference(saved, changed, ["a"]) == ("group.b", "2", "8")
    assert first_difference(saved, changed, ["a", "group.b"]) == ("new", "(not given)", "true")


def test_a_row_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"step": 0}\n{"st')
    assert read_rows(tmp_path / "rows.jsonl") == [{"step": 0}]
    assert read_rows(tmp_path / "none.jsonl") == []
