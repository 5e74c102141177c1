"""Rollouts to many carts: of those only engine and clock are fake; broker, web server, keys and conductor are real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif("EDGEAI_TORTURE_FLEET" not in os.environ, reason="minutes: `make torture` runs it"),
]
ROOT = Path(__file__).resolve().parents[2]
CARTS = 24
SEED = 307
"""With which each kind of failure comes to one of these carts or more, and not too many of them to the first phase."""
NO_TROUBLE = {"rollout.later-phase", "rollout.none", "rollout.halted", "slots.bad", "slots.out-of-turn"}
"""Codes with which a cart's look may end here: it waits, or does not take again what failed."""


def rolled_out(failures: float, folder: Path) -> Any:
    words = ["--share", "0.06", "--silent", "0.06", "--seed", str(SEED), "--failures", str(failures)]
    words += ["--soak", "1", "--phases", "10,40,100", "--looks", "2", "--images", "8", "--processes", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.thousand", str(CARTS), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ends(told: Any) -> dict[str, tuple[str, str, int]]:
    """Cart -> the code that its kind must end with, the one that the conductor has, the release that runs."""
    return {
        cart: (told["expected"].get(kind, ""), told["verdicts"].get(cart, ["", ""])[1], release)
        for cart, (kind, release) in told["carts"].items()
    }


def test_a_rollout_goes_through_and_each_failing_cart_is_known_by_its_reason(mosquitto: str, tmp_path: Path) -> None:
    told = rolled_out(0.9, tmp_path)
    assert (told["state"], told["open"]) == ("done", 3), told["why"]
    assert {kind for kind, _ in told["carts"].values()} == {"", *told["expected"]}
    for cart, (expected, code, release) in ends(told).items():
        assert code == expected, cart
        assert release == (1 if expected not in ("", "fleet.silent") else 2), cart
    assert set(told["codes"]) <= NO_TROUBLE
    assert len(told["verdicts"]) == CARTS


def test_a_rollout_halts_at_its_threshold_and_later_carts_never_take_it(mosquitto: str, tmp_path: Path) -> None:
    told = rolled_out(0.2, tmp_path)
    assert (told["state"], told["open"]) == ("halted", 2), told["why"]
    assert re.match(r"\d+ of \d+ carts failed", told["why"])
    spared = {cart for cart in told["carts"] if cart not in told["verdicts"]}
    assert len(spared) > CARTS / 2
    assert {told["carts"][cart][1] for cart in spared} == {1}
