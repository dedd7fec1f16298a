"""What a race of many labels keeps: the errors of those that are still in it."""

import numpy as np

from scorefield.perception.classification.classify import _ImageRace
from scorefield.perception.classification.paired_errors import Request
from scorefield.perception.classification.stopping import Race

PARTS = 4


def errors_of(request: Request) -> np.ndarray:
    """Labels 0 and 1 tie; the others are far behind."""
    noise = np.random.default_rng(request.start).normal(
        size=(len(request.prompts), request.stop - request.start, PARTS)
    )
    return noise + 5 * (np.array(request.prompts) > 1)[:, None, None]


def test_errors_kept_are_those_that_were_evaluated() -> None:
    labels = 60
    race = _ImageRace(0, [[label] for label in range(labels)], Race(), 32 * labels)
    while race.request is not None:
        race.answer(errors_of(race.request))

    kept = [own if own.base is None else own.base for own in race._errors]
    result = race.result()

    assert result["draws"][0] > 10 * min(result["draws"])
    assert sum(own.size for own in kept) == PARTS * result["evaluations"]
