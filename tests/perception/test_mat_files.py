"""MATLAB's matrices are those that SciPy reads, and no damage does more than raise."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from scorefield.perception.benchmarks.mat_files import read_mat_matrix

WHOLE = {
    "kps": np.array([[1.5, np.nan], [3.0, 4.0], [-1.0, 70000.0]]),
    "bbox": np.array([[3, 4, 200, 60000]], np.uint16),
    "small": np.array([[7]], np.int8),
    "signed": np.arange(-6, 6, dtype=np.int64).reshape(3, 4),
    "single": np.ones((2, 5), np.float32),
    "empty": np.zeros((0, 2)),
    "about": {"name": "a cat", "parts": [1.0, 2.0]},
    "title": "text",
}


@pytest.mark.parametrize("compressed", [False, True])
def test_matrices_are_those_of_scipy(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, WHOLE, do_compression=compressed)
    theirs = loadmat(path)
    for name in ("kps", "bbox", "small", "signed", "single", "empty"):
        ours = read_mat_matrix(path, name)
        assert ours.dtype == np.float64 and np.array_equal(ours, theirs[name], equal_nan=True)
    with pytest.raises(ValueError, match="no matrix 'points', but kps, bbox"):
        read_mat_matrix(path, "points")
    for name in ("about", "title"):
        with pytest.raises(ValueError, match=r"no matrix|real numbers"):
            read_mat_matrix(path, name)


def test_other_kinds_of_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"kps": np.ones((2, 2), complex), "deep": np.ones((2, 2, 2))})
    for name, told in (("kps", "does not hold real numbers"), ("deep", "is no matrix")):
        with pytest.raises(ValueError, match=told):
            read_mat_matrix(path, name)
    savemat(path, {"kps": np.ones((2, 2))}, format="4")
    with pytest.raises(ValueError, match="no MATLAB file of level 5"):
        read_mat_matrix(path, "kps")


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_told(tmp_path: Path, compressed: bool) -> None:
    """Every byte changed in turn, and every length: a matrix of the same shape, or a ValueError."""
    whole = io.BytesIO()
    savemat(whole, {"kps": WHOLE["kps"], "small": WHOLE["small"]}, do_compression=compressed)
    path, chance, refused = tmp_path / "a.mat", random.Random(0), 0
    for at in range(len(whole.getvalue())):
        data = bytearray(whole.getvalue())
        data[at] ^= 1 << chance.randrange(8)
        for damaged in (data, whole.getvalue()[:at]):
            path.write_bytes(damaged)
            try:
                found = read_mat_matrix(path, "kps")
            except ValueError:
                refused += 1
            else:
                assert found.ndim == 2 and found.size == 6
    assert refused > 100
