"""A new bundle is shown real images beside what runs, before it runs: it is switched to, or never is."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from edgeai.testing.distributions import none_steps_back
from edgeai.testing.fakes import Misbehaviour

DULL, BRIGHT = 60, 250

pytestmark = pytest.mark.slow

RULES = "quiet_s = 0.1\nprobation_results = 1\nshadow_agreement = 0.5\nshadow_share = 1.0\n"
"""Eight images that agree show a half."""


def keep_sending(updated: Any, until: Any, ended: Any, level: int = DULL) -> list[Any]:
    """An image now and then, each once the one before has its result and nothing lies in the tray, until it is so."""
    phantoms = [updated.cart.admit(level)]
    tray = updated.cart.folder / "data/spool/shadow/guard"

    def is_over() -> bool:
        if len(updated.cart.results()) >= len(phantoms) and not list(tray.glob("*.json")):
            phantoms.append(updated.cart.admit(level))
        return bool(ended())

    until(is_over, 1200.0)
    return phantoms


def refused(updated: Any, until: Any, old: str, code: str, **facts: Any) -> str:
    """A bundle that is bad on bright images has not run, and what ran was not disturbed; why, in words."""
    release = len(updated.state.bad) + 2
    pid = updated.cart.pid("infer:guard")
    new = updated.bring(release, **facts)
    phantoms = keep_sending(updated, until, lambda: new in updated.state.bad, BRIGHT)
    assert updated.codes(new) == code
    for phantom in phantoms:
        result = updated.cart.result_of(phantom)
        assert (result["outcome"], result["model"]["digest"]) == ("completed", old)
    assert updated.cart.pid("infer:guard") == pid
    until(lambda: len(updated.cart.events("update.failed")) == release - 1)
    return str(updated.state.bad[new].why)


def test_only_what_agrees_with_what_runs_is_switched_to(updated: Any, until: Any) -> None:
    old = updated.configure(RULES)
    updated.start()
    updated.runs(old)
    why = refused(updated, until, old, "slots.shadow-died", misbehave=Misbehaviour(how="abort", mean_above=0.8))
    assert "SIGABRT" in why
    why = refused(updated, until, old, "slots.disagrees", misbehave=Misbehaviour(how="nan", mean_above=0.8))
    assert "0 of 8 images (between 0.0% and " in why
    assert "the last: failed (tensor.not-finite) in place of completed" in why
    assert updated.cart.spool.quarantined() == []

    (updated.cart.plugins / "sitecustomize.py").unlink()
    new = updated.bring(4)
    started = lambda: [each["pid"] for each in updated.cart.logged("shadow.started") if each["digest"] == new]  # noqa: E731
    shadow = until(started)[0]
    until(lambda: os.sched_getscheduler(shadow) == os.SCHED_IDLE)
    assert os.getpriority(os.PRIO_PROCESS, shadow) == 19
    none_steps_back(updated.cart.plugins)
    os.kill(shadow, signal.SIGKILL)
    sent = keep_sending(updated, until, lambda: updated.state.shadow and updated.state.shadow.compared >= 2)
    os.kill(updated.cart.pid("shadow:guard"), signal.SIGKILL)
    sent += keep_sending(updated, until, lambda: updated.cart.events("update.activated"))
    shown = updated.event("update.shown")["message"]
    assert "it agreed with what runs on 8 of 8 images (between 52" in shown
    updated.runs(new)
    kinds = {updated.cart.result_of(phantom)["model"]["digest"] for phantom in sent}
    assert kinds <= {old, new}
    ids = [result["result_id"] for result in updated.cart.results()]
    assert len(ids) == len(set(ids)), "what a shadow answers leaves by no way"
    moves = [move.move for move in updated.state.history]
    assert moves[moves.index("shown") - 1 : moves.index("shown") + 2] == ["rehearsed", "shown", "activated"]
