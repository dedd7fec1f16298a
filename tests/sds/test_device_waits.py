"""How often a step waits for its device: the checks of `tests/support/device_waits.py`.

They register a backend with torch, which no other test must meet, and have a process of their own.
Types are not checked there: other tests of the same calls do.
"""

import subprocess
import sys
from pathlib import Path

CHECKS = Path(__file__).parents[1] / "support" / "device_waits.py"


def test_steps_seldom_wait_for_their_device() -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words += ["-o", "addopts=--import-mode=importlib", str(CHECKS)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=CHECKS.parents[2])
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
