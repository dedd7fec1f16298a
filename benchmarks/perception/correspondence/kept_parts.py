"""The parts of a long evaluation, kept in a file as they are done, so that it can be resumed."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class KeptParts:
    """JSON values by name: one line of settings, then one line per part.

    path: of the file, made with its folder if missing; None keeps the parts in memory alone.

    Raises:
        ValueError: the file is of other settings, or is none of parts.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path is None:
            return
        wanted = json.loads(json.dumps(dict(settings)))
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        # a line that was cut off by an interruption is dropped
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        try:
            rows = [json.loads(line) for line in lines]
            begun = rows[0]["settings"] if rows else wanted
            self._known = {row["part"]: row["value"] for row in rows[1:]}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} does not hold parts of an evaluation; choose another "
                             "folder") from error  # fmt: skip
        if begun != wanted:
            raise ValueError(
                f"{path} is of the settings {json.dumps(begun)}; give those again, or another "
                "folder"
            )
        aside = path.with_name(path.name + ".new")
        aside.write_text("".join(lines) or json.dumps({"settings": wanted}) + "\n", "utf-8")
        os.replace(aside, path)

    def __call__(self, part: str, compute: Callable[[], Any]) -> Any:
        """The value of a part, computed and kept if it is not there."""
        if part not in self._known:
            # as it will be read, so that a resumed evaluation sees the same
            line = json.dumps({"part": part, "value": compute()})
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            self._known[part] = json.loads(line)["value"]
        return self._known[part]
