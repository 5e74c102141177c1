"""``make mutants``: do the tests of these modules notice when the modules are wrong?

A sample of mutants of each target is tried, one after the other, in a copy of the checkout, against the target's own
tests. The seed is printed; the same seed draws the same sample. It fails when fewer than nine in ten of all mutants
were noticed, or when one target has so many that were not that its own share is below that beyond chance.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mutants import Mutant, mutants_of
from targets import TARGETS, Target

ROOT = Path(__file__).resolve().parent.parent.parent
FLOOR = 0.9
CHANCE = 0.05
"""A target fails when, were it at the floor, so many survivors would come in fewer samples than this."""
PATIENCE = 10.0
"""A mutant that takes so many times what the tests take hangs, and is noticed."""
LEAST_S = 120.0


@dataclass(slots=True)
class Tally:
    """What became of a target's sample."""

    tried: int = 0
    of: int = 0
    survivors: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many the tests noticed."""
        return self.tried - len(self.survivors)

    @property
    def is_below(self) -> bool:
        """Whether the target's share is below the floor beyond chance; of all its mutants, whether it is below."""
        if self.tried == self.of:
            return self.killed < FLOOR * self.tried
        at_least = sum(
            math.comb(self.tried, lost) * (1 - FLOOR) ** lost * FLOOR ** (self.tried - lost)
            for lost in range(len(self.survivors), self.tried + 1)
        )
        return at_least < CHANCE


def main() -> int:
    """The exit status: 0, or 1 when too many survived, or 2 when the tests fail without any mutant."""
    wish = _wishes()
    print(f"seed {wish.seed}: {' '.join(sys.argv[1:]) or 'all targets'}", flush=True)
    tallies: dict[str, Tally] = {}
    with _copy() as folder:
        for name in wish.target or TARGETS:
            tally = _try_target(folder, name, random.Random(f"{wish.seed}/{name}"), wish)
            if tally is None:
                return 2
            tallies[name] = tally
    return _report(tallies)


def _wishes() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/mutants", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="by default another")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each target; 0: all")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="by default all; may be repeated")
    parser.add_argument("--line", type=int, help="only the mutants of this line of the target's first module")
    return parser.parse_args()


@contextmanager
def _copy() -> Iterator[Path]:
    """The files of the checkout, elsewhere: whatever a mutant does, it does not do here."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        yield Path(folder)


def _try_target(folder: Path, name: str, chance: random.Random, wish: argparse.Namespace) -> Tally | None:
    target = TARGETS[name]
    began = time.monotonic()
    if not _pass(folder, target, limit_s=3600.0):
        print(f"{name}: its tests fail as they are: {' '.join(target.tests)}")
        return None
    limit_s = max(LEAST_S, PATIENCE * (time.monotonic() - began))
    every = [(module, each) for module in target.modules for each in mutants_of((ROOT / module).read_text())]
    if wish.line:
        every = [(module, each) for module, each in every if (module, each.line) == (target.modules[0], wish.line)]
    drawn = every if not wish.sample or wish.sample >= len(every) else chance.sample(every, wish.sample)
    tally = Tally(of=len(every))
    for module, mutant in sorted(drawn, key=lambda each: (each[0], each[1].line)):
        tally.tried += 1
        if _survives(folder, target, module, mutant, limit_s):
            tally.survivors.append(f"{module}:{mutant}")
            print(f"  survived  {module}:{mutant}", flush=True)
    print(f"{name}: {tally.killed} of {tally.tried} noticed, of {tally.of} there are", flush=True)
    return tally


def _survives(folder: Path, target: Target, module: str, mutant: Mutant, limit_s: float) -> bool:
    path = folder / module
    original = path.read_text()
    path.write_text(mutant.source)
    try:
        return _pass(folder, target, limit_s=limit_s)
    finally:
        path.write_text(original)


def _pass(folder: Path, target: Target, *, limit_s: float) -> bool:
    """Whether the target's tests pass in the copy; those that do not end do not."""
    paths = [str(folder), *map(str, sorted(folder.glob("plugins/*/")))]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "EDGEAI_DATA": os.environ.get("EDGEAI_DATA", str(ROOT.parent / "shared" / "data")),
    }
    command: Sequence[str] = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *target.tests)
    running = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return running.wait(limit_s) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if running.poll() is None:
            os.killpg(running.pid, 9)
            running.wait()


def _report(tallies: dict[str, Tally]) -> int:
    tried, killed = sum(t.tried for t in tallies.values()), sum(t.killed for t in tallies.values())
    below = [name for name, tally in tallies.items() if tally.is_below]
    print(f"\n{'target':<16}{'noticed':>9}{'tried':>7}{'there are':>11}")
    for name, tally in tallies.items():
        print(
            f"{name:<16}{tally.killed:>9}{tally.tried:>7}{tally.of:>11}{'  below nine in ten' if name in below else ''}"
        )
    print(f"{'all':<16}{killed:>9}{tried:>7}{sum(t.of for t in tallies.values()):>11}")
    return int(bool(below) or killed < FLOOR * tried)


if __name__ == "__main__":
    sys.exit(main())
