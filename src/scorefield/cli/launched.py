"""One command that torchrun or accelerate launch started in several processes."""

import os

_COUNTER = "scorefield/told"
_SECONDS = 5.0  # to reach the launcher, which is on the network of the processes


def is_first() -> bool:
    """Whether this process is the one that writes files, or the only one."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def tells_errors() -> bool:
    """Whether this process is to say why the command failed: the first one to ask is.

    The others mostly fail as a consequence, or for the same reason. They find each other by
    torchrun's store; with a launcher that keeps none, each says why it failed.
    """
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    if not several or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    from datetime import timedelta

    from torch import distributed

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = timedelta(seconds=_SECONDS)
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            address, port, timeout=patience, wait_for_workers=False
        )
        return bool(store.add(f"{_COUNTER}/{attempt}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):  # the launcher has ended
        return True
