"""None of these: how well images fit their best label, against laws and as a user sees it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.images import save_image
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.rejection import LabelFit, label_fit
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.prior import ImagePrior, Prompts
from scorefield.priors.schedule import FlowSchedule

FLOW = FlowSchedule()


def test_the_gain_is_the_pointwise_information() -> None:
    """log p(x | label) - log p(x) of a mixture of two labels, whichever of them is asked for."""
    prior = GaussianMixturePrior(
        torch.tensor([[-2.0, 0.0], [2.0, 0.5]]).double(),
        torch.tensor([0.5, 0.8]).double(),
        labels=["left", "right"],
        schedule=FLOW,
    )
    x = torch.tensor([[-1.8, 0.2], [1.7, 0.1], [-1.8, 0.2]]).double()
    labels = ["left", "right", "right"]
    wide = ErrorMeasure(log_snr=(-9, 11))
    found = label_fit(prior, x, labels, draws=600, measure=wide)
    clean = FLOW.at_fraction(torch.tensor(0.0).double())
    marginal = prior.condition(None).log_density(x, clean)
    true = [
        float(prior.condition(name).log_density(x, clean)[i] - marginal[i])
        for i, name in enumerate(labels)
    ]
    assert found.gains.tolist() == pytest.approx(true, rel=0.12, abs=0.15)
    assert found.gains[2] < -5 < 0 < found.gains[0]
    assert found.errors[2] > found.errors[0]


def test_p_values_by_hand() -> None:
    reference = LabelFit(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 6.0, 7.0]))
    fit = LabelFit(torch.tensor([2.5, 0.5, 9.0, 9.0]), torch.tensor([5.5, 1.0, 8.0, 1.0]))
    # as bad or worse: gains 2, 0, 3, 3 of three; errors 2, 3, 0, 3
    assert fit.p_values(reference).tolist() == [1.0, 0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match="at least one image that fits"):
        fit.p_values(LabelFit(torch.empty(0), torch.empty(0)))


def test_what_fits_is_rejected_no_more_often_than_promised() -> None:
    """Exchangeable images: 2,000 of them, each with a reference of its own of 39."""
    generator = torch.Generator().manual_seed(0)
    below = {0.05: 0, 0.1: 0, 0.3: 0}
    for _ in range(2000):
        gains = torch.randn(40, generator=generator).exp()
        errors = gains + torch.randn(40, generator=generator)
        one, others = (LabelFit(gains[part], errors[part]) for part in (slice(1), slice(1, 40)))
        p = float(one.p_values(others))
        for level in below:
            below[level] += p <= level
    for level, count in below.items():
        # four standard errors of a share of 2,000
        spread = 4 * (level * (1 - level) / 2000) ** 0.5
        assert level / 2 - spread < count / 2000 < level + spread


def test_prompts_are_one_per_image() -> None:
    prior = GaussianMixturePrior(torch.zeros(1, 2), torch.ones(1), labels=["a"], schedule=FLOW)
    with pytest.raises(ValueError, match="got 2 prompts for 1 images"):
        label_fit(prior, torch.zeros(1, 2), ["a", "a"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--reject", "0"], "--reject 0 rejects nothing"),
        (["--reject", "0.05", "--own", "39"], "--own: 39 images are too few"),
        (["--reject", "0.5", "--reference", "a.png"], "--reference: 1 images are too few"),
        (["--reference", "a.png"], "--reference is not used by classify without --reject"),
        (["--reject", "1", "--own", "9", "--reference", "a.png", "a.png"], "--own is not used by"),
        (["--reject", "1", "--reference", "gone.png", "a.png"], "gone.png"),
        (["--own", "9"], "--own is not used by classify without --reject"),
        (["--labels", "lamp,zebra,gnu"], "does not know 'zebra'"),
        (["--labels", "lamp,zebra,gnu"], "'gnu'"),
    ],
)
def test_refusals(
    words: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    image = save_image(tmp_path / "a.png", torch.rand(3, 8, 8))
    assert main(["classify", str(image), "--labels", "lamp,chair", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_command_takes_labels_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance: list[object] = []
    generate = ImagePrior.generate

    def watched(self: ImagePrior, prompts: Prompts, scale: float | int, **options: Any) -> Tensor:
        guidance.append(scale)
        return generate(self, prompts, scale, **options)

    monkeypatch.setattr(ImagePrior, "generate", watched)
    torch.manual_seed(0)
    prior = untrained_shapes(tmp_path / "p")
    image = save_image(tmp_path / "a.png", torch.rand(3, 64, 64))
    words = ["classify", str(image), "--labels", "lamp,chair", "--prior", str(prior), "--budget",
             "4", "--own", "3", "--device", "cpu", "--quiet", "--json"]  # fmt: skip
    assert main([*words, "--reject", "1"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert guidance == [1]  # guided images gain more by their label than any that were learnt from
    assert 0.5 <= row["fit"] <= 1
    rejected = row["label"] == "none of these"
    assert rejected == (row["fit"] < 1)
    assert row["nearest" if rejected else "label"] in ("lamp", "chair")


def test_the_command_compares_with_images_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images are their own reference: none fits worse than all of it."""
    prior = untrained_shapes(tmp_path / "p")
    generator = torch.Generator().manual_seed(0)
    paths = [
        str(save_image(tmp_path / f"{i}.png", torch.rand(3, 64, 64, generator=generator)))
        for i in range(3)
    ]
    words = ["classify", "--labels", "lamp,chair", "--prior", str(prior), "--budget", "4",
             "--device", "cpu", "--quiet", "--json", "--reject", "0.6"]  # fmt: skip
    assert main([*words, *paths, "--reference", *paths]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["reference"]) == paths and "own" not in found
    assert len(found["results"]) == 3
    # each is as bad as itself, 2 (1 + 1) / (1 + 3)
    assert [row["fit"] for row in found["results"]] == [1, 1, 1]
