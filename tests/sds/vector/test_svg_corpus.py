"""Files of other people: icon sets of npm and plots of matplotlib, none of which is kept here."""

import importlib.util
import os
import shutil
from pathlib import Path as FilePath
from types import ModuleType

import pytest

pytest.importorskip("resvg_py")
SCRIPT = FilePath(__file__).parents[3] / "benchmarks" / "svg_corpus.py"


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("svg_corpus", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="files are fetched with npm")
def test_other_peoples_files_look_as_resvg_draws_them(tmp_path: FilePath) -> None:
    """Over 300 files: 97% of those that resvg draws are close, and nothing fails in other ways."""
    found = benchmark()
    cache = FilePath(os.environ.get("SVG_CORPUS", tmp_path))
    sets = [(p, found.fetch_npm(p, cache)) for p in found.NPM]
    sets.append(("matplotlib", found.make_plots(cache)))
    files = [(name, path, folder) for name, folder in sets for path in found.chosen(folder, 30)]
    assert len(files) >= 300
    results = [found.measure(*each) for each in files]
    assert not [r for r in results if r.failed]
    drawn = [r for r in results if not r.refused.startswith("resvg")]
    near = [
        r
        for r in drawn
        if min(1.0 if r.error is None else r.error, 1.0 if r.fine is None else r.fine)
        <= found.CLOSE
    ]
    assert len(near) >= 0.97 * len(drawn), [r for r in drawn if r not in near]
    # Of what is not close something is said: no omission is silent.
    assert not [r for r in drawn if r not in near and not (r.left_out or r.refused)]
