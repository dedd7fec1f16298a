"""Figures of a training to tensorboard and its like, through accelerate's trackers."""

from collections.abc import Mapping

from accelerate import Accelerator

from scorefield.runs.folder import RunFolder


class TrackedRun(RunFolder):
    """A run folder whose rows also go to a tracker.

    metrics.jsonl stays the record: a row is there before the tracker has it, and a run that is
    resumed tells the tracker again what was done after the last checkpoint.

    Args:
        run: the folder; files of the tracker lie in its `tracking`.
        tracker: name of one of accelerate's trackers, such as tensorboard.

    Raises:
        ValueError: there is no such tracker, or what it needs is not installed.
    """

    def __init__(self, run: RunFolder, tracker: str) -> None:
        super().__init__(run.path, run.config)
        self._accelerator = Accelerator(log_with=check_tracker(tracker), project_dir=run.path)
        self._accelerator.init_trackers("tracking")

    def write_row(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends a row (`RunFolder.write_row`), and logs it."""
        super().write_row(step, metrics)
        self._accelerator.log(dict(metrics), step=step)

    def finish(self) -> None:
        """Lets the tracker write what it has."""
        self._accelerator.end_training()


def check_tracker(name: str) -> str:
    """The name of a tracker that can be used.

    Raises:
        ValueError: there is no such tracker, or what it needs is not installed.
    """
    from accelerate.tracking import get_available_trackers

    usable = sorted(str(kind) for kind in get_available_trackers())
    if name not in usable:
        raise ValueError(
            f"there is no tracker {name!r} here; installed are {', '.join(usable) or 'none'}: "
            f"pip install {name}, if it is one of accelerate's"
        )
    return name
