"""The drill: other people's files and nights, thousands of times over.

    make drill                                  # all of it, resumed if it was stopped
    python tests/drill --fast                   # about a minute
    python tests/drill --only kills --count 50  # a part of it

Every try is a function of its part, its number and the seed, which are printed where it fails.
What was tried is in OUT/tries.jsonl, the table in OUT/table.md.
"""

import argparse
import os
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path

# Before any library that reads them is imported.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path[:0] = [str(Path(__file__).parents[1] / "support")]

import forks  # noqa: E402
from drill_parts import Part, parts  # noqa: E402
from ledger import Ledger, Tried, table  # noqa: E402
from material import make  # noqa: E402

HANGS = 60.0
"""Seconds of computing after which a try that shares its process is one that does not end."""


def attempt(ledger: Ledger, name: str, part: Part, number: int, seed: int) -> None:
    began_s, cpu_s = time.monotonic(), sum(os.times()[:4])
    try:
        fault = part.attempt(number, random.Random(f"{seed} {name} {number}"))
    except Exception as error:
        fault = f"the drill itself: {type(error).__name__}: {error}"
    took = round(sum(os.times()[:4]) - cpu_s, 2), round(time.monotonic() - began_s, 3)
    ledger.add(Tried(name, number, " ".join(fault.split()), *took))


def grouped(ledger: Ledger, name: str, part: Part, numbers: list[int], seed: int) -> None:
    """Tries in a process of their own; what ends the process is noted, and the rest goes on."""
    begun = ledger.path.with_name(f"begun-{os.getpid()}")

    def work(numbers: list[int]) -> int:
        for number in numbers:
            begun.write_text(str(number))
            attempt(ledger, name, part, number, seed)
        return 0

    while numbers:
        begun.write_text(str(numbers[0]))  # not the last one of the part before, long ago
        ended = _watched(forks.fork(partial(work, numbers)), begun)
        if ended == "":
            return
        last = int(begun.read_text())
        ledger.add(Tried(name, last, ended))
        numbers = numbers[numbers.index(last) + 1 :]


def _watched(child: int, begun: Path) -> str:
    """How a process of tries ended; "" for well."""
    number, before_s = "", 0.0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "" if code == 0 else f"the process ended with {code}"
        if begun.exists() and begun.read_text() != number:
            number, before_s = begun.read_text(), forks.spent(child)
        waited_s = time.time() - begun.stat().st_mtime if begun.exists() else 0.0
        if forks.spent(child) - before_s > HANGS or waited_s > forks.WAITS:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return f"not over after {HANGS:g} s of computing"
        time.sleep(0.2)


def drill(
    place: Path, *, fast: bool, only: list[str], count: int | None, workers: int, seed: int
) -> str:
    """Tries what was not tried yet; returns the table."""
    place.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(place / "tries.jsonl")
    forks.import_all()
    material = place / "material"
    if not (material / ".ready").exists():
        shutil.rmtree(material, ignore_errors=True)
        material.mkdir()
        if forks.wait(forks.fork(lambda: make(material)), 600.0):
            raise SystemExit("the files to work on could not be made")
    chosen = {name: one for name, one in parts(place, fast).items() if not only or name in only}
    known = {(one.part, one.number) for one in ledger.read()}
    left = [
        (name, number)
        for name, one in chosen.items()
        for number in range(count or (one.short if fast else one.full))
        if (name, number) not in known
    ]
    children = [
        forks.fork(lambda share=left[worker::workers]: _work(ledger, chosen, share, seed))
        for worker in range(workers)
    ]
    for child in children:
        os.waitpid(child, 0)
    shutil.rmtree(place / "work", ignore_errors=True)
    text = table(ledger.read(), {name: one.does for name, one in chosen.items()})
    (place / "table.md").write_text(f"Seed {seed}.\n\n{text}", encoding="utf-8")
    return text


def _work(ledger: Ledger, chosen: dict[str, Part], share: list[tuple[str, int]], seed: int) -> int:
    for name, part in chosen.items():
        numbers = [number for one, number in share if one == name]
        if part.grouped:
            grouped(ledger, name, part, numbers, seed)
        else:
            for number in numbers:
                attempt(ledger, name, part, number, seed)
        print(f"{time.strftime('%H:%M:%S')} {name}: {len(numbers)} tried", file=sys.stderr)
    return 0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--out", type=Path, default=Path("build/drill"), help="folder of the drill"
    )
    options.add_argument("--fast", action="store_true", help="the short form")
    options.add_argument("--only", nargs="*", default=[], help="parts to try")
    options.add_argument("--count", type=int, help="tries of each part")
    options.add_argument("--workers", type=int, default=2, help="processes side by side")
    options.add_argument("--seed", type=int, default=0, help="of all chance")
    given = options.parse_args()
    print(f"seed {given.seed}, in {given.out}", file=sys.stderr)
    text = drill(
        given.out.absolute(), fast=given.fast, only=given.only, count=given.count,
        workers=given.workers, seed=given.seed,
    )  # fmt: skip
    print(text, end="")
    return int("\n- " in text)


if __name__ == "__main__":
    sys.exit(main())
