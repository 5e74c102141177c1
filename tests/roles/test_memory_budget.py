"""A deployment's budget of memory: what exceeds it is ended, blamed where something was under way, and said."""

from __future__ import annotations

from typing import Any

import pytest

from edgeai.testing.fakes import GORGES, Misbehaviour

DULL, BRIGHT = 60, 250
BUDGET = "max_memory_bytes = 400_000_000"

_CHILD_GORGES = """
import subprocess, sys
def _gorge(how):
    code = "import time; hoard = [b'x' * 8_000_000 for _ in range(80)]; time.sleep(3600)"
    subprocess.run([sys.executable, "-c", code])
fakes._die = _gorge
"""

_GROWS = """
import threading, time
from pathlib import Path
def _grow():
    hoard = []
    while Path({flag!r}).exists():
        hoard.append(b"x" * 4_000_000)
        time.sleep(0.02)
threading.Thread(target=_grow, daemon=True).start()
"""
"""A plugin that grows slowly, whatever is asked of it."""


@pytest.mark.parametrize("prelude", [GORGES, _CHILD_GORGES], ids=["itself", "in a child"])
def test_an_image_on_which_the_engine_takes_all_memory_fails_alone(cart: Any, prelude: str, until: Any) -> None:
    cart.add_backend("greedy", prelude=prelude)
    cart.backends = ("greedy",)
    cart.configure(Misbehaviour(how="leak", mean_above=0.9), deployment=f"{BUDGET}\ndeadline_s = 300.0")
    cart.start()
    cart.ready()
    poison = cart.admit(BRIGHT)
    others = [cart.admit(DULL) for _ in range(2)]
    failed = cart.result_of(poison)
    assert (failed["outcome"], failed["reason"]["code"], failed["findings"]) == ("failed", "job.memory", [])
    for phantom in others:
        assert cart.result_of(phantom)["outcome"] == "completed"
    memory = until(lambda: (reports := cart.events("role.memory"))[2:] and reports)
    assert (memory[0]["facts"]["how"], memory[0]["facts"]["max_memory_bytes"]) == ("memory", 400_000_000)
    assert {(each["facts"]["step"], each["facts"]["cause"]) for each in cart.events("plugin.fault")} == {
        ("run", "memory")
    }
    assert cart.spool.quarantined() == [], "one image convicts nobody"
    assert all(death["memory_bytes"] > 400_000_000 for death in cart.logged("role.died"))


def test_an_engine_that_takes_all_memory_of_every_image_is_quarantined(cart: Any, until: Any) -> None:
    cart.add_backend("greedy", "leak", prelude=GORGES)
    cart.backends = ("greedy", "fake-works")
    cart.configure(deployment=f"{BUDGET}\ndeadline_s = 300.0")
    cart.start()
    cart.ready()
    first, *others = [cart.admit() for _ in range(3)]
    assert cart.result_of(first)["reason"]["code"] == "job.memory"
    for phantom in others:
        assert cart.result_of(phantom)["engine"]["backend"] == "fake-works"
    [held] = cart.spool.quarantined("guard")
    assert (held.plugin, held.step, held.cause) == ("greedy", "run", "memory")


def test_a_role_that_grows_without_a_job_is_started_anew_and_nobody_is_blamed(cart: Any, until: Any) -> None:
    flag = cart.folder / "grows"
    flag.touch()
    cart.add_backend("sprawling", prelude=_GROWS.format(flag=str(flag)))
    cart.backends = ("sprawling",)
    cart.configure(deployment=BUDGET)
    cart.start()
    cart.ready()
    pid = cart.pid("infer:guard")
    assert until(lambda: cart.events("role.memory"))
    flag.unlink()
    until(lambda: cart.pid("infer:guard") != pid)
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    assert cart.events("plugin.fault") == []
    assert {death["cause"] for death in cart.logged("role.died")} == {"memory"}
    assert {(death["job"], death["step"]) for death in cart.logged("role.died")} == {(None, None)}


def test_without_a_budget_nobody_is_ended(cart: Any) -> None:
    cart.add_backend("roomy", prelude="hoard = b'x' * 500_000_000")
    cart.backends = ("roomy",)
    cart.configure()
    cart.start()
    cart.ready()
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    assert cart.logged("role.died") == []
