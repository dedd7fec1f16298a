"""`scorefield classify`: which of some labels pictures show."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from scorefield.cli.verb import Outcome, PriorVerb, check_at_least, check_picture, under_way
from scorefield.perception.error_measure import ErrorMeasure, Loss, Quantity, Spacing

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.priors.prior import ImagePrior

_AT_ONCE = 4  # pictures whose results an interruption may cost


@dataclass(frozen=True, kw_only=True)
class Classify(PriorVerb):
    """Classify pictures by the likelihood a prior gives them under each label.

    No classifier is trained. Labels that are behind by more than chance explains are dropped on the
    way, so that most pictures cost far less than the budget. Any number of pictures stream
    through; with --out, each one's result is on disk as soon as it is known.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """Of any size and mode; their middle square is taken."""
    labels: str
    """What to choose from, with commas between: "mushroom,lamp,chair"."""
    template: tuple[str, ...] = ("a {}",)
    """Prompt of a label, {} being the label; several are alternatives."""
    confidence: float = 0.99
    """Of dropping labels: the best one, for unlimited draws, survives this often."""
    inflation: float = 4.0
    """Of what noise does to a prior's errors, beyond independent parts: 1 for digits."""
    budget: int | None = None
    """Network evaluations per picture at most; None: 32 for every prompt."""
    quantity: Quantity = "eps"
    """What predictions are compared by; x0 and v weight high noise more."""
    loss: Loss = "l2"
    """Of a difference; l1 and huber mind outlying dimensions less."""
    spacing: Spacing = "log_snr"
    """What noise levels are even in: log-SNR, or the schedule's timesteps."""
    log_snr: tuple[float, float] = (-3.0, 3.0)
    """Range (low high) of the noise levels."""
    temperature: float = 1.0
    """Of the probabilities: above 1, less sure than the likelihoods."""
    out: Path | None = None
    """File of one JSON line per picture (results.jsonl); new, unless resuming."""
    resume: bool = False
    """Go on with the file --out: pictures that have a result there are not done again."""
    batch_size: int = 64
    """Rows in one pass of the network; changes the speed and the memory, not the results."""

    def run(self) -> Outcome:
        """Classify, append, report."""
        if not self.pictures:
            raise ValueError("no picture is given; name one or several files")
        labels = [label.strip() for label in self.labels.split(",") if label.strip()]
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"--labels must name two or more labels, all different; got {labels}")
        for template in self.template:
            if "{}" not in template:
                raise ValueError(f"--template must hold {{}}, the label's place; got {template!r}")
        check_at_least(1, batch_size=self.batch_size)

        from scorefield.cli.loading import prior_of
        from scorefield.perception.classification import DRAWS
        from scorefield.perception.racing import Race

        prompts = {
            label: [template.format(label) for template in self.template] for label in labels
        }
        count = len(labels) * len(self.template)
        budget = DRAWS * count if self.budget is None else self.budget
        check_at_least(count, budget=budget)
        if self.temperature <= 0:
            raise ValueError(f"--temperature must be positive; got {self.temperature}")
        policy = Race(self.confidence, inflation=self.inflation)
        measure = ErrorMeasure(self.quantity, self.loss, self.spacing, self.log_snr)
        settings = {
            "prior": self.prior,
            "prompts": prompts,
            "policy": asdict(policy),
            "measure": asdict(measure),
            "budget": budget,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        settings = json.loads(json.dumps(settings))  # as it will be read again
        prior = prior_of(self)
        prior.condition([prompt for own in prompts.values() for prompt in own])
        results = _Results(self.out, settings, self.resume)  # makes the file, so last
        left = [path for path in self.pictures if str(path) not in results.known]
        options = {
            "policy": policy,
            "measure": measure,
            "budget": budget,
            "temperature": self.temperature,
            "seed": self.seed,
            "batch_size": self.batch_size,
        }
        with under_way():
            _stream(left, prior, prompts, results, options, self.quiet)
        rows = [results.known.get(str(path)) or results.failed[str(path)] for path in self.pictures]
        bad = [f"{row['picture']} ({row['error']})" for row in rows if "error" in row]
        problem = f"{len(bad)} of {len(rows)} pictures: {'; '.join(bad)}" if bad else None
        lines = [_line(row) for row in rows if "error" not in row]
        if self.out is not None:
            lines.append(f"wrote {self.out}")
        return Outcome({**settings, "results": rows}, lines, problem)


def _stream(
    paths: list[Path],
    prior: "ImagePrior",
    prompts: dict[str, list[str]],
    results: "_Results",
    options: dict[str, Any],
    quiet: bool,
) -> None:
    """Read, classify and note a few pictures at a time."""
    import torch
    from tqdm.auto import tqdm

    from scorefield.perception.classification import classify
    from scorefield.priors.images import load_image

    with tqdm(total=len(paths), disable=quiet, desc="pictures") as bar:
        for first in range(0, len(paths), _AT_ONCE):
            images, items, good = [], [], []
            for path in paths[first : first + _AT_ONCE]:
                try:
                    images.append(load_image(path, prior.image_size))
                except (ValueError, OSError) as error:
                    results.note({"picture": str(path), "error": " ".join(str(error).split())})
                    continue
                # noise by content: the same for a picture wherever it is, and whatever else is
                digest = hashlib.blake2b(path.read_bytes(), digest_size=7).digest()
                items.append(int.from_bytes(digest, "little"))
                good.append(path)
            if good:
                stack = torch.stack(images).to(prior.device)
                found = classify(prior, stack, prompts, items=items, **options)
                for i, path in enumerate(good):
                    results.note(
                        {
                            "picture": str(path),
                            "label": found.best[i],
                            "confidence": round(float(found.confidence[i]), 4),
                            "decided": bool(found.decided[i]),
                            "evaluations": int(found.evaluations[i]),
                            "probabilities": _by_label(found.labels, found.probabilities[i]),
                            "log_likelihoods": _by_label(found.labels, found.log_likelihoods[i]),
                        }
                    )
            bar.update(len(paths[first : first + _AT_ONCE]))


def _by_label(labels: tuple[str, ...], values: "Tensor") -> dict[str, float]:
    pairs = zip(labels, values.tolist(), strict=True)
    return {label: float(f"{value:.6g}") for label, value in pairs}


def _line(row: dict[str, Any]) -> str:
    """A result for people: the label, the likeliest three, what it took."""
    likely = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])[:3]
    odds = ", ".join(f"{label} {value:.3f}" for label, value in likely)
    sure = f"confidence {row['confidence']:.3f}" + ("" if row["decided"] else ", undecided")
    return f"{row['picture']}: {row['label']} ({odds}; {row['evaluations']} evaluations, {sure})"


class _Results:
    """The results file, and what it holds: one line of settings, then one per picture."""

    def __init__(self, path: Path | None, settings: dict[str, Any], resume: bool) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, dict[str, Any]] = {}
        self._path = path
        if path is None:
            if resume:
                raise ValueError("--resume goes on with a file; name it with --out")
            return
        check_picture(path, (".jsonl",))
        if path.exists() and not resume:
            raise ValueError(f"{path} is there already; choose another file, or --resume")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        # a line that was cut off by an interruption is dropped
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        try:
            rows = [json.loads(line) for line in whole]
            matches = not rows or rows[0]["settings"] == settings
            self.known = {row["picture"]: row for row in rows[1:] if "error" not in row}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a file of results; choose another") from error
        if not matches:
            raise ValueError(f"{path} is of other settings; give those again, or another --out")
        if not rows:
            whole = [json.dumps({"settings": settings}) + "\n"]
        aside = path.with_name(path.name + ".new")
        aside.write_text("".join(whole), encoding="utf-8")
        os.replace(aside, path)

    def note(self, row: dict[str, Any]) -> None:
        """Keep a result, and append it to the file in one piece."""
        (self.failed if "error" in row else self.known)[row["picture"]] = row
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
