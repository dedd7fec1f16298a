"""What starting costs: python benchmarks/startup.py [--repeats 5]

CPU seconds of fresh processes, the smallest of several, beside `import torch` in the same run. Run
nothing else on the machine meanwhile.
"""

import argparse
import os
import resource
import subprocess
import sys

PYTHON = [sys.executable, "-P"]
TASKS = {
    "import torch": [*PYTHON, "-c", "import torch"],
    "a Gaussian mixture": [*PYTHON, "-c", "from scorefield.priors import GaussianMixturePrior"],
    "vector graphics": [*PYTHON, "-c", "from scorefield.sds.vector import load_svg"],
    "load_prior": [*PYTHON, "-c", "from scorefield.priors import load_prior"],
    "scorefield --help": [*PYTHON, "-m", "scorefield", "--help"],
    "scorefield text-to-3d --help": [*PYTHON, "-m", "scorefield", "text-to-3d", "--help"],
    "scorefield classify --help": [*PYTHON, "-m", "scorefield", "classify", "--help"],
}


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="Processes per task")
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in TASKS}
    for _ in range(repeats):  # in turn, so that a busy moment falls on all
        for name, command in TASKS.items():
            seconds[name].append(cpu_seconds(command))
    torch = min(seconds["import torch"])
    print("| | CPU seconds | over import torch |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {min(values):.2f} | {min(values) / torch:.2f} |")


if __name__ == "__main__":
    main()
