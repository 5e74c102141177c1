"""Plugins in quarantine are tried where they can kill nothing that serves, and come back by themselves, aloud."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.fakes import Misbehaviour

DULL = 60

_WHILE_FLAGGED = """
from pathlib import Path
_die = fakes._die
def _while_flagged(how):
    if Path({flag!r}).exists():
        _die(how)
fakes._die = _while_flagged
"""
"""A backend that misbehaves only while a file exists: until the driver was repaired, say."""

SOON = "\n[supervise]\nrestart_min_s = 0.05\nrestart_max_s = 0.5\ntrial_after_s = 0.3\n"


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """Exists while the backend of ``flagged`` misbehaves."""
    path = tmp_path / "broken"
    path.touch()
    return path


def flagged(cart: Any, flag: Path, how: str, at: str = "run") -> None:
    cart.add_backend("deadly", how, at, prelude=_WHILE_FLAGGED.format(flag=str(flag)))


def convict(cart: Any, until: Any) -> None:
    """Two images that the engine fails on, or as many as it takes."""
    cart.admit()
    cart.admit()
    until(lambda: cart.spool.quarantined("guard"))


@pytest.mark.parametrize("how", ["hang", pytest.param("abort", marks=pytest.mark.torture)])
def test_the_first_wish_comes_back_by_itself_and_its_trials_disturb_nobody(
    cart: Any, flag: Path, how: str, until: Any
) -> None:
    flagged(cart, flag, how)
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON, deployment=f"deadline_s = {2.0 if how == 'hang' else 60.0}")
    cart.start()
    cart.ready()
    convict(cart, until)
    failed = until(lambda: cart.events("plugin.trial-failed"))[0]["facts"]
    assert (failed["plugin"], failed["deployment"], failed["step"]) == ("deadly", "guard", "run")
    assert failed["cause"] == {"abort": "signal-SIGABRT", "hang": "deadline"}[how]
    pid = cart.pid("infer:guard")
    assert cart.result_of(cart.admit())["engine"]["backend"] == "fake-works"
    trials = len(cart.events("plugin.trial-failed"))
    until(lambda: len(cart.events("plugin.trial-failed")) > trials)
    assert cart.pid("infer:guard") == pid, "a trial that dies kills no service"
    flag.unlink()
    [released] = until(lambda: cart.events("plugin.released"))
    assert (released["facts"]["plugin"], released["facts"]["trials"]) == (
        "deadly",
        len(cart.events("plugin.trial-failed")),
    )
    result = until(lambda: (answer := cart.result_of(cart.admit()))["degraded"] is None and answer)
    assert (result["outcome"], result["engine"]["backend"]) == ("completed", "deadly")
    assert cart.spool.quarantined() == []
    assert cart.pid("infer:guard") == pid, "nor does one that passes"


def test_with_no_engine_left_jobs_are_held_until_a_trial_passes(cart: Any, flag: Path, until: Any) -> None:
    flagged(cart, flag, "abort")
    cart.backends = ("deadly",)
    cart.configure(more=SOON)
    first, *others = [cart.admit() for _ in range(4)]
    cart.start()
    failed = cart.result_of(first)
    assert (failed["outcome"], failed["reason"]["code"], failed["findings"]) == ("failed", "job.crashed", [])
    [held] = until(lambda: cart.spool.holds())
    assert (held.code, held.jobs) == ("plugin.quarantined", 3)
    assert "pardon" in held.remedy
    until(lambda: cart.events("plugin.trial-failed"))
    assert len(cart.results()) == 1
    flag.unlink()
    for phantom in others:
        result = cart.result_of(phantom)
        assert (result["outcome"], result["engine"]["backend"], result["attempt"]) == ("completed", "deadly", 1)
    until(lambda: cart.spool.holds() == [])
    assert until(lambda: cart.events("deployment.released"))


def test_an_engine_that_fails_without_dying_comes_back_too(cart: Any, flag: Path, until: Any) -> None:
    flagged(cart, flag, "raise")
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON)
    cart.start()
    cart.ready()
    for _ in range(3):
        assert cart.result_of(cart.admit())["reason"]["code"] == "plugin.fault"
    failed = until(lambda: cart.events("plugin.trial-failed"))[0]["facts"]
    assert failed["cause"] == "plugin.fault"
    flag.unlink()
    until(lambda: cart.result_of(cart.admit())["degraded"] is None)


@pytest.mark.parametrize("at", [pytest.param("open", marks=pytest.mark.torture), "load"])
def test_what_died_when_it_was_opened_or_loaded_is_tried_in_the_same_way(
    cart: Any, flag: Path, at: str, until: Any
) -> None:
    if at == "load":
        dies = f"import os\nfrom pathlib import Path\nif Path({str(flag)!r}).exists():\n    os.abort()"
        cart.add_backend("deadly", prelude=dies)
    else:
        flagged(cart, flag, "abort", at)
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON)
    waiting = cart.admit()
    cart.start()
    result = cart.result_of(waiting)
    assert (result["outcome"], result["engine"]["backend"]) == ("completed", "fake-works")
    assert result["degraded"]["wished"] == "deadly"
    [held] = cart.spool.quarantined("guard")
    assert held.step == at
    until(lambda: cart.events("plugin.trial-failed"))
    flag.unlink()
    until(lambda: cart.result_of(cart.admit())["engine"]["backend"] == "deadly")


@pytest.mark.parametrize(
    "fresh", ["another", *(pytest.param(w, marks=pytest.mark.torture) for w in ("garbage", "gone"))]
)
def test_a_trial_judges_what_would_run_whatever_lies_on_disk(cart: Any, flag: Path, until: Any, fresh: str) -> None:
    flagged(cart, flag, "abort")
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON.replace("0.3", "2.0"))
    cart.start()
    cart.ready()
    convict(cart, until)
    before = cart.result_of(cart.admit())["model"]["digest"]
    bundle = cart.folder / "guard.edgeai"
    if fresh == "another":  # on which every engine fails
        pack_fake_bundle(cart.folder / "content", bundle, name="guard-model", misbehave=Misbehaviour(how="raise"))
    elif fresh == "garbage":
        bundle.write_bytes(b"half of a bund")
    else:
        bundle.unlink()
    until(lambda: cart.events("deployment.bundle-changed"))
    flag.unlink()
    until(lambda: cart.events("plugin.released"))
    result = until(lambda: (answer := cart.result_of(cart.admit()))["degraded"] is None and answer)
    assert (result["engine"]["backend"], result["model"]["digest"]) == ("deadly", before)


def test_where_nothing_runs_a_trial_judges_what_lies_on_disk(cart: Any, flag: Path, until: Any) -> None:
    flagged(cart, flag, "abort")
    cart.backends = ("deadly",)
    cart.configure(more=SOON)
    *_, last = [cart.admit() for _ in range(4)]
    cart.start()
    until(lambda: cart.spool.holds())
    bundle = cart.folder / "guard.edgeai"
    whole = bundle.read_bytes()
    bundle.write_bytes(b"half of a bund")
    flag.unlink()
    until(lambda: any(event["facts"]["cause"].startswith("bundle.") for event in cart.events("plugin.trial-failed")))
    bundle.write_bytes(whole)
    assert cart.result_of(last)["engine"]["backend"] == "deadly"


def test_a_version_that_is_gone_is_let_go(cart: Any, flag: Path, until: Any) -> None:
    flagged(cart, flag, "abort")
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON.replace("0.3", "2.0"))
    cart.start()
    cart.ready()
    convict(cart, until)
    cart.stop()
    shutil.rmtree(cart.plugins / "deadly-1.0.dist-info")
    (cart.plugins / "deadly.py").unlink()
    cart.add_backend("deadly", version="2.0")
    cart.start()
    [released] = until(lambda: cart.events("plugin.released"))
    assert "not installed" in released["message"]
    assert cart.result_of(cart.admit())["engine"]["backend"] == "deadly"


def test_where_the_profile_wants_no_trials_there_are_none(cart: Any, flag: Path, until: Any) -> None:
    flagged(cart, flag, "abort")
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON.replace("trial_after_s = 0.3", "trial_after_s = 0"))
    cart.start()
    cart.ready()
    convict(cart, until)
    flag.unlink()
    for _ in range(5):
        assert cart.result_of(cart.admit())["engine"]["backend"] == "fake-works"
    assert cart.logged("trial.started") == []
    assert cart.spool.quarantined("guard")[0].next_trial_at == 0


def test_stopping_in_the_middle_of_a_trial_leaves_nothing_behind(cart: Any, flag: Path, until: Any) -> None:
    flagged(cart, flag, "hang")
    cart.backends = ("deadly", "fake-works")
    cart.configure(more=SOON, deployment="deadline_s = 2.0")
    cart.start()
    cart.ready()
    convict(cart, until)
    note = until(lambda: (now := cart.spool.notes()["trial:guard"]) and any(s.step == "run" for s in now.steps) and now)
    pid = note.pid
    assert cart.stop() == 0
    assert not Path(f"/proc/{pid}").exists()
    flag.unlink()
    cart.start()
    until(lambda: cart.events("plugin.released"))
