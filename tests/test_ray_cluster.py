"""A Ray cluster is there, or a line says why not; without Ray, the line names the extra."""

import builtins
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from scorefield.ray_cluster import ray_cluster, room_for

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def _refused(address: str) -> str:
    with pytest.raises(ValueError) as refused, ray_cluster(address, 1):
        pass
    return str(refused.value)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def without(name: str, *more: object) -> object:
        if name == "ray":
            raise ImportError(name)
        return honest(name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    assert "scorefield[ray]" in _refused("auto")


class Late:
    """Ray on a machine where it is not ready in time, so many times."""

    def __init__(self, times: int) -> None:
        self.left, self.asked = times, list[object]()

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **options: object) -> None:
        self.asked.append(options["num_cpus"])
        self.left -= 1
        if self.left >= 0:
            raise Exception("The current node timed out during startup.")

    def shutdown(self) -> None:
        self.asked.append("shutdown")


def test_a_busy_machine_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Late(1)
    monkeypatch.setattr("scorefield.ray_cluster._imported", lambda: late)
    with ray_cluster(None, 2) as ray:
        assert ray is late and late.asked == [2, "shutdown", 2]
    assert late.asked[3:] == ["shutdown"]
    late.left = 2
    with pytest.raises(ValueError, match="does not start here: The current node timed out"):
        ray_cluster(None, 2).__enter__()


@needs_ray
@pytest.mark.parametrize("address", ["6379", "host", "ray://host:10001", ":1", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "HOST:PORT" in _refused(address)


@needs_ray
def test_an_address_of_nobody_is_refused_at_once(silent: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    begun = time.monotonic()
    assert f"127.0.0.1:{free}" in _refused(f"127.0.0.1:{free}")
    assert time.monotonic() - begun < 15


@needs_ray
@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(silent: str) -> None:
    begun = time.monotonic()
    assert silent in _refused(silent)
    assert time.monotonic() - begun < 20


@needs_ray
@pytest.mark.slow
def test_a_local_cluster_ends_with_its_driver_and_prints_nothing() -> None:
    """In a process of its own, for a driver leaves threads and signal handlers behind."""
    program = (
        "from scorefield.ray_cluster import ray_cluster\n"
        "with ray_cluster(None, 3) as ray:\n"
        "    address = ray.get_runtime_context().gcs_address\n"
        "    cpus = ray.cluster_resources()['CPU']\n"
        "    assert ray.get(ray.remote(lambda: 7).remote()) == 7\n"
        "    with ray_cluster('nowhere:1', 1) as same:\n"
        "        assert same.get_runtime_context().gcs_address == address\n"
        "assert not ray.is_initialized()\n"
        "print(cpus, address)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    cpus, address = done.stdout.split()
    assert cpus == "3.0"
    assert address in _refused(address)


class Machines:
    """A cluster of one machine with two GPUs, one without, and one that is gone."""

    def nodes(self) -> list[dict[str, object]]:
        return [
            {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
            {"Alive": True, "Resources": {"CPU": 5.0}},
            {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 13.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("cores", "gpus", "room"), [(1, 0, 13), (2, 0, 6), (1, 0.5, 4), (4, 0.5, 2), (3, 1, 2)]
)
def test_a_process_has_room_on_one_machine(cores: float, gpus: float, room: int) -> None:
    assert room_for(Machines(), cores, gpus) == room
    assert room_for(Machines(), cores, gpus, wanted=room) == room
    with pytest.raises(ValueError, match=rf"takes {room} of them \(13 cores, 2 GPUs in all\)"):
        room_for(Machines(), cores, gpus, wanted=room + 1)


def test_no_room_is_told() -> None:
    with pytest.raises(ValueError, match="1 workers of 9 cores and 0 GPUs have no room"):
        room_for(Machines(), 9, 0)
