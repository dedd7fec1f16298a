import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from scorefield.views import VIEWS
from scorefield.world import CATEGORIES, COLORS
from scorefield.world.judge import Judge, JudgeNet, class_indices, frechet_distance


def with_moments(mean: Tensor, root: Tensor, n: int = 64) -> Tensor:
    """n rows whose sample mean is `mean` and whose sample covariance is root @ root.T, exactly."""
    d = len(mean)
    rows = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(n + d))
    rows = rows - rows.mean(0)
    whitened = rows @ torch.linalg.inv(torch.linalg.cholesky(rows.T @ rows / (n - 1))).T
    return mean + whitened @ root.T


MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)


def test_frechet_distance_of_equal_covariances() -> None:
    root = torch.tensor([[1.0, 0, 0], [0.5, 2, 0], [-1, 0.3, 0.7]], dtype=torch.float64)
    a, b = with_moments(ZERO, root), with_moments(MEAN, root, n=80)
    assert frechet_distance(a, b) == pytest.approx(float(MEAN.square().sum()))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_diagonal_covariances() -> None:
    p, q = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.2, 0.0]).double()
    a, b = with_moments(ZERO, p.diag()), with_moments(MEAN, q.diag(), n=80)
    expected = float(MEAN.square().sum() + (p - q).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


def test_frechet_distance_of_covariances_that_do_not_commute() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(3, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    a, b = with_moments(ZERO, p), with_moments(ZERO, q, n=80)
    # the eigenvalues of A B, which is not symmetric, are those of A^(1/2) B A^(1/2)
    cross = np.sqrt(np.linalg.eigvals((p @ p.T @ q @ q.T).numpy()).real).sum()
    expected = float((p @ p.T + q @ q.T).trace()) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_distance_of_single_numbers() -> None:
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0]])
    # means 1 and 7, deviations sqrt(2) and sqrt(8)
    assert frechet_distance(a, b) == pytest.approx(36 + 2)


def test_frechet_distance_of_too_few() -> None:
    with pytest.raises(ValueError, match="two rows or more, got 1 and 4"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))


@pytest.fixture(scope="module")
def judge() -> Judge:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Judge(JudgeNet())


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_verdict(judge: Judge, images: Tensor) -> None:
    verdict = judge(images)
    assert verdict.category.shape == (5, len(CATEGORIES))
    assert verdict.color.shape == (5, len(COLORS))
    assert verdict.view.shape == (5, len(VIEWS))
    for probabilities in (verdict.category, verdict.color, verdict.view):
        torch.testing.assert_close(probabilities.sum(1), torch.ones(5))
    assert verdict.categories[2] == list(CATEGORIES)[int(verdict.category[2].argmax())]
    assert verdict.colors[2] == list(COLORS)[int(verdict.color[2].argmax())]
    assert verdict.views[2] == VIEWS[int(verdict.view[2].argmax())]


def test_images_do_not_depend_on_their_batch(judge: Judge, images: Tensor) -> None:
    many = images.repeat(30, 1, 1, 1)  # more than one chunk
    together, features = judge(many), judge.features(many)
    for i in (0, 4, 149):
        alone = judge(many[i : i + 1])
        torch.testing.assert_close(alone.category, together.category[i : i + 1])
        torch.testing.assert_close(alone.color, together.color[i : i + 1])
        torch.testing.assert_close(alone.view, together.view[i : i + 1])
        alone_features = judge.features(many[i : i + 1])
        torch.testing.assert_close(alone_features, features[i : i + 1], rtol=1e-5, atol=1e-6)


def test_other_sizes_are_resized(judge: Judge, images: Tensor) -> None:
    # each pixel four times over: its average is the image itself
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    resized = F.interpolate(large, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(judge(large).category, judge(resized).category)
    flat = torch.full((1, 3, 200, 120), 0.3)
    torch.testing.assert_close(
        judge(flat).category, judge(torch.full((1, 3, 64, 64), 0.3)).category
    )


def test_frozen_and_of_any_precision(judge: Judge, images: Tensor) -> None:
    assert not any(p.requires_grad for p in judge.net.parameters())
    assert not judge.net.training
    torch.testing.assert_close(judge(images.double()).category, judge(images).category)


def test_load(judge: Judge, images: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    save_file({name: value.half() for name, value in judge.net.state_dict().items()}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Judge.load(path)
    # weights rounded to half precision
    torch.testing.assert_close(again(images).category, judge(images).category, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match=r"nowhere\.safetensors: missing; .*train_judge"):
        Judge.load(tmp_path / "nowhere.safetensors")


def test_class_indices() -> None:
    assert class_indices(["b", "a", "b"], ["a", "b"]).tolist() == [1, 0, 1]
