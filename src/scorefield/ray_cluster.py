"""A connection to Ray, for as long as a job needs it: a cluster of this machine's own, or another.

Ray is the extra `scorefield[ray]`, and is imported here alone when a job asks for it.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ANSWER_SECONDS = 12.0
"""How long the cluster at an address may take to answer."""

_OBJECT_STORE = 256 * 2**20  # bytes, of a local cluster: jobs pass names and rows, not images

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}

# Asked in a process of its own: a driver that waits for a dead address cannot be interrupted, and
# says so for minutes.
_ASK = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='error')"


@contextmanager
def ray_cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Inside, this process is a driver of a Ray cluster; gives the module `ray`.

    Nothing is sent to Ray's authors, nothing is printed, and no dashboard is opened. The processes
    of a local cluster end with the block, or with this process. A process that is connected
    already stays connected, whatever is asked for.

    Args:
        address: "HOST:PORT" of a cluster that has a node on this machine, or "auto" for the one
            that runs here; None starts one.
        cpus: Cores that a local cluster counts with, be there as many or not; what is scheduled
            there is so many tasks of a core at once. All GPUs are its own as well.

    Raises:
        ValueError: Ray is not installed, does not start, or does not answer within 20 s.
    """
    ray = _imported()
    if ray.is_initialized():
        yield ray
        return
    if address is None:
        _start(ray, cpus)
    else:
        _check_answer(address)
        ray.init(address, **_QUIET)
    try:
        yield ray
    finally:
        ray.shutdown()


def room_for(ray: Any, cores: float | int, gpus: float | int, wanted: int | None = None) -> int:
    """How many processes the machines of a cluster have room for, each being on one of them.

    Args:
        ray: As `ray_cluster` gives it.
        cores: Of a process.
        gpus: Of a process; shares are allowed.
        wanted: How many there are to be; None is at least one.

    Raises:
        ValueError: There is less room than that.
    """
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            here = int(has.get("CPU", 0) / cores)
            room += min(here, int(has.get("GPU", 0) / gpus)) if gpus else here
    if room < (wanted or 1):
        has = ray.cluster_resources()
        raise ValueError(
            f"{wanted or 1} workers of {cores:g} cores and {gpus:g} GPUs have no room: the "
            f"cluster takes {room} of them ({has.get('CPU', 0):g} cores, "
            f"{has.get('GPU', 0):g} GPUs in all); give fewer, or smaller shares"
        )
    return room


def check_ray() -> None:
    """Refuse to begin without Ray.

    Raises:
        ValueError: it is not installed.
    """
    _imported()


def _imported() -> Any:
    # Read when Ray is imported, or a cluster is started.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # It prints on standard output when a worker dies, whatever is asked of its logs.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    # What is to come in Ray; without a choice it remarks on it. A task may see a GPU it has not.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise ValueError("Ray is not installed; pip install 'scorefield[ray]'") from error
    return ray


def _start(ray: Any, cpus: int) -> None:
    """Start a cluster; a second time if need be, for Ray gives a busy machine 30 s and no more."""
    for tries_left in (1, 0):
        try:
            ray.init(
                "local", num_cpus=cpus, include_dashboard=False, object_store_memory=_OBJECT_STORE,
                **_QUIET,
            )  # fmt: skip
        except Exception as error:  # Ray's own are of that class
            ray.shutdown()
            if not tries_left:
                raise ValueError(f"Ray does not start here: {error}") from error
        else:
            return


def _check_answer(address: str) -> None:
    """Refuse an address at which no cluster lets this machine in."""
    if address != "auto":
        _check_port(address)
    words = [sys.executable, "-c", _ASK, address]
    try:
        asked = subprocess.run(words, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"no Ray cluster answers at {address} within {ANSWER_SECONDS:.0f} s; see ray status"
        ) from error
    if asked.returncode:
        said = (asked.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ValueError(f"Ray at {address} refuses this machine ({said}); see ray status")


def _check_port(address: str) -> None:
    """Refuse what is no address of this machine's cluster, or is one of nobody."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or "//" in host:
        raise ValueError(
            f"{address!r} is no address of a Ray cluster; give HOST:PORT, as ray start --head says "
            "it, on a machine that belongs to the cluster, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS / 3).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"nothing answers at {address} ({error}); start Ray there: ray start --head"
        ) from error
