"""Nobody waits for a hub that is not there."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scorefield.hub import ANSWER_SECONDS, is_hub_id, nearby_folder

_ASK = "from scorefield.hub import hub_file; hub_file('owner/model', 'model_index.json')"


def test_a_path_that_looks_local_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "shapes").mkdir(parents=True)
    assert is_hub_id("owner/model")
    assert not is_hub_id("runs/shapse")
    assert not is_hub_id("runs/shapes")
    assert not is_hub_id(Path("owner/model"))
    assert not any(is_hub_id(one) for one in ("model", "./a/b", "../a", "a/b/c", "/a/b", "a/"))
    assert nearby_folder("runs/shapse") == "; did you mean runs/shapes?"
    assert nearby_folder("runs/else") == nearby_folder("nowhere/shapes") == ""


def test_offline_mode_is_answered_at_once(tmp_path: Path) -> None:
    assert "offline" in _asked({"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}, 60)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        before = time.monotonic()
        online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address, "HF_HOME": str(tmp_path)}
        said = _asked(online, ANSWER_SECONDS + 60)
    assert said.strip().endswith("no answer within 12 s, and no copy in the cache")
    assert time.monotonic() - before > ANSWER_SECONDS - 1
    assert "Retrying" not in said


def _asked(environment: dict[str, str], seconds: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode != 0
    return done.stderr
