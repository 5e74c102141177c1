"""The supervisor with real processes: what crashes, hangs or is killed, and what comes of its jobs."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeai.spool import is_held, read_note
from edgeai.testing.broker import free_port
from edgeai.testing.certificates import Authority
from edgeai.testing.fakes import Misbehaviour

DULL, BRIGHT = 60, 250


def restarts(cart: Any, role: str = "infer:guard") -> int:
    return int(cart.spool.notes()["supervise"].detail["roles"][role]["restarts"])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- crashes, hangs, lies: the backend's doing ------------------------------------------------------


def test_a_poisonous_image_fails_alone_and_the_others_go_on(cart: Any, until: Any) -> None:
    cart.configure(
        Misbehaviour(how="abort", mean_above=0.9),
        more="\n[supervise]\nrestart_min_s = 0.05\nrestart_max_s = 0.2\nquarantine_after = 100\n",
    )
    cart.start()
    cart.ready()
    poison = cart.admit(BRIGHT)
    good = [cart.admit(DULL) for _ in range(3)]
    failed = cart.result_of(poison)
    assert (failed["outcome"], failed["reason"]["code"], failed["findings"]) == ("failed", "job.crashed", [])
    assert "SIGABRT" in failed["reason"]["message"]
    for phantom in good:
        assert cart.result_of(phantom)["outcome"] == "completed"
    until(lambda: len(cart.events("role.crashed")) == 3)
    until(lambda: restarts(cart) == 3)
    assert len(cart.events("plugin.fault")) == 3
    reports = cart.logged("role.crash-report")
    assert reports
    assert "Aborted" in reports[0]["report"]


@pytest.mark.parametrize(
    ("how", "cause"), [("abort", "signal-SIGABRT"), pytest.param("exit", None, marks=pytest.mark.torture)]
)
def test_a_backend_that_dies_is_quarantined_and_the_next_takes_over(
    cart: Any, how: str, cause: str | None, until: Any
) -> None:
    cart.add_backend("deadly", how)
    cart.backends = ("deadly", "fake-works")
    cart.configure()
    cart.start()
    cart.ready()
    first = cart.admit()
    others = [cart.admit() for _ in range(3)]
    assert cart.result_of(first)["outcome"] == "failed"
    last = cart.result_of(others[-1])
    assert (last["outcome"], last["engine"]["backend"]) == ("completed", "fake-works")
    assert last["degraded"]["wished"] == "deadly"
    assert "quarantine" in last["degraded"]["because"][0]
    [event] = until(lambda: cart.events("plugin.quarantined"))
    assert (event["facts"]["plugin"], event["facts"]["step"]) == ("deadly", "run")
    assert cause is None or event["facts"]["cause"] == cause
    assert until(lambda: cart.events("deployment.degraded"))


def test_a_backend_that_dies_when_opened_costs_no_job(cart: Any, until: Any) -> None:
    cart.add_backend("deadly", "abort", at="open")
    cart.backends = ("deadly", "fake-works")
    cart.configure()
    waiting = [cart.admit() for _ in range(3)]
    cart.start()
    for phantom in waiting:
        result = cart.result_of(phantom)
        assert (result["outcome"], result["engine"]["backend"]) == ("completed", "fake-works")
    [held] = cart.spool.quarantined("guard")
    assert (held.plugin, held.step) == ("deadly", "open")
    until(lambda: restarts(cart) == 3)


@pytest.mark.parametrize("how", [pytest.param("hang", marks=pytest.mark.torture), "hang-holding-the-gil"])
def test_a_backend_that_hangs_is_ended_at_its_deadline(cart: Any, how: str) -> None:
    cart.add_backend("stuck", how)
    cart.backends = ("stuck", "fake-works")
    cart.configure(deployment="deadline_s = 2.0")
    cart.start()
    cart.ready()
    first, second = cart.admit(), cart.admit()
    failed = cart.result_of(first)
    assert (failed["outcome"], failed["reason"]["code"]) == ("failed", "job.deadline")
    assert cart.result_of(second)["engine"]["backend"] == "fake-works"
    assert cart.spool.quarantined("guard")[0].cause == "deadline"


def test_a_backend_that_hangs_when_opened_is_ended_at_its_deadline(cart: Any) -> None:
    cart.add_backend("stuck", "hang", at="open")
    cart.backends = ("stuck", "fake-works")
    cart.configure(deployment="open_deadline_s = 2.0")
    waiting = cart.admit()
    cart.start()
    assert cart.result_of(waiting)["engine"]["backend"] == "fake-works"


def test_with_no_backend_left_a_deployment_may_prefer_to_fail(cart: Any) -> None:
    cart.add_backend("deadly", "abort")
    cart.backends = ("deadly",)
    cart.configure(deployment='when_unavailable = "fail"')
    jobs = [cart.admit() for _ in range(4)]
    cart.start()
    codes = [cart.result_of(job)["reason"]["code"] for job in jobs]
    assert codes == ["job.crashed", *["plugin.quarantined"] * 3]
    assert all(result["findings"] == [] for result in cart.results())


# --- deaths from outside ------------------------------------------------------------------------------


def test_kills_from_outside_blame_nobody_and_lose_nothing(cart: Any, until: Any) -> None:
    cart.configure(Misbehaviour(how="slow"))
    jobs = [cart.admit() for _ in range(12)]
    cart.start()
    for _ in range(6):  # twice as many as would be a quarantine, or the end of a job
        pid = cart.pid("infer:guard")
        until(lambda: any(step.step == "run" for step in cart.spool.notes()["infer:guard"].steps))
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: gone(pid))
    for job in jobs:
        assert cart.result_of(job)["outcome"] == "completed"
    assert len(cart.results()) == 12
    assert cart.spool.quarantined() == []
    assert cart.events("plugin.fault") == []
    assert until(lambda: cart.events("role.interrupted"))


def test_the_supervisor_killed_takes_its_roles_along_and_starts_anew(cart: Any, until: Any) -> None:
    cart.configure(Misbehaviour(how="slow"))
    jobs = [cart.admit() for _ in range(5)]
    for _ in range(3):
        cart.start()
        pids = [cart.pid("infer:guard"), cart.pid("publish")]
        until(lambda: cart.spool.notes()["infer:guard"].steps)
        cart.process.kill()
        cart.process.wait()
        until(lambda pids=pids: all(gone(pid) for pid in pids))
    cart.start()
    for job in jobs:
        assert cart.result_of(job)["outcome"] == "completed"
    assert len(cart.results()) == 5


def test_a_role_that_stands_still_is_ended(cart: Any, until: Any) -> None:
    # Long enough for a role to come up on a machine that is busy with something else.
    cart.configure(more="\n[supervise]\nsilent_s = 20.0\nheartbeat_s = 0.2\nrestart_min_s = 0.05\n")
    cart.start()
    cart.ready()
    pid = cart.pid("publish")
    os.kill(pid, signal.SIGSTOP)
    until(lambda: gone(pid))
    assert until(lambda: cart.events("role.silent"))
    until(lambda: cart.pid("publish") != pid)


def test_a_role_that_only_fails_is_restarted_with_longer_and_longer_pauses(cart: Any, until: Any) -> None:
    place = cart.folder / "ca"
    place.mkdir()
    files = f'certificate = "{place}/cart.pem"\nkey = "{place}/cart.key"\n'  # which are not there yet
    cart.configure(more=f"\n[ingest.scp]\nport = {free_port()}\n[ingest.scp.tls]\n{files}")
    cart.start()
    died = until(lambda: (deaths := [d for d in cart.logged("role.died") if d["of"] == "ingest"])[3:] and deaths)
    pauses = [item["restart_in_s"] for item in died]
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    assert all(item["cause"] == "crashed" for item in died)
    Authority(place).issue("cart")
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    until(lambda: (note := cart.spool.notes().get("ingest")) and note.state == "ready")


# --- the supervisor itself ------------------------------------------------------------------------------


def test_a_second_supervisor_is_refused(cart: Any) -> None:
    cart.configure()
    cart.start()
    cart.ready()
    first = cart.process
    second = cart.start()
    assert second.wait(600) == 70
    assert cart.logged("role.failed")[0]["code"] == "run.already-running"
    cart.process = first
    assert cart.result_of(cart.admit())["outcome"] == "completed"


def test_edgeai_run_becomes_the_supervisor_and_ctrl_c_ends_it(cart: Any, until: Any) -> None:
    cart.configure()
    with cart.log.open("ab") as log:
        cart.process = subprocess.Popen(
            [sys.executable, "-m", "edgeai", "run", str(cart.profile)], env=cart.environment, stderr=log
        )
    cart.ready()
    assert cart.pid("supervise") == cart.process.pid
    cart.process.send_signal(signal.SIGINT)
    assert cart.process.wait(120) == 0


def test_jobs_of_a_deployment_that_is_gone_wait_and_are_told(cart: Any, until: Any) -> None:
    cart.configure()
    cart.admit(deployments=("retired",))
    cart.start()
    [event] = until(lambda: cart.events("deployment.removed"))
    assert event["facts"] == {"deployment": "retired", "jobs": 1}
    [held] = cart.spool.holds()
    assert (held.deployment, held.code, held.jobs) == ("retired", "config.no-deployment", 1)


def test_a_profile_with_mistakes_is_refused(cart: Any) -> None:
    cart.configure()
    cart.profile.write_text(cart.profile.read_text() + "\n[mqqt]\n")
    assert cart.start().wait(600) == 78
    failure = cart.logged("role.failed")[0]
    assert failure["code"] == "config.invalid"
    assert "mqqt" in failure["message"]


def test_stopping_finishes_what_is_held_and_sends_it(cart: Any, until: Any) -> None:
    cart.configure(Misbehaviour(how="slow"))
    cart.start()
    cart.ready()
    cart.admit()
    until(lambda: any(step.step == "run" for step in cart.spool.notes()["infer:guard"].steps))
    pids = [cart.pid("infer:guard"), cart.pid("publish")]
    assert cart.stop() == 0
    assert all(gone(pid) for pid in pids)
    assert [result["outcome"] for result in cart.results()] == ["completed"]


@pytest.mark.skipif(sys.platform != "linux", reason="niceness as Linux has it")
def test_what_a_sender_waits_for_has_the_processor_before_what_looks_at_images(cart: Any) -> None:
    (cart.plugins / "sitecustomize.py").unlink()  # where all are alike
    cart.configure(more=f"\n[ingest.scp]\nport = {free_port()}\n")
    cart.start()
    cart.ready()
    here = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {role: os.getpriority(os.PRIO_PROCESS, cart.pid(role)) for role in ("ingest", "infer:guard", "publish")}
    assert nice == {"ingest": here, "infer:guard": min(here + 10, 19), "publish": here}


def test_systemd_is_told_when_it_is_ready_that_it_lives_and_when_it_stops(cart: Any, tmp_path: Path) -> None:
    cart.configure()
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(240)
        cart.start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="400000")
        heard = [systemd.recv(100)]
        while b"READY=1" not in heard:
            heard.append(systemd.recv(100))
        assert set(heard) == {b"READY=1", b"WATCHDOG=1"}
        assert systemd.recv(100) == b"WATCHDOG=1"
        cart.process.terminate()
        while systemd.recv(100) != b"STOPPING=1":
            pass
    assert cart.process.wait(120) == 0


def test_the_supervisor_stays_small_and_imports_no_numpy(cart: Any) -> None:
    cart.configure()
    cart.start()
    cart.ready()
    maps = Path(f"/proc/{cart.process.pid}/maps").read_text()
    assert "numpy" not in maps
    assert "pydantic" not in maps


# --- everything at once ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.torture
def test_random_kills_of_every_role_lose_nothing_and_double_nothing(cart: Any, until: Any) -> None:
    """A small relative of the system test: kills over all roles, the supervisor too, while jobs are done."""
    dice = random.Random(20)
    cart.configure()
    jobs = [cart.admit() for _ in range(60)]
    cart.start()
    for _ in range(25):
        time.sleep(dice.uniform(0.0, 0.6))
        role = dice.choice(("infer:guard", "publish", "supervise", "infer:guard"))
        if role == "supervise":
            cart.process.kill()
            cart.process.wait()
            cart.start()
        elif (note := cart.spool.notes().get(role)) and not gone(note.pid):
            os.kill(note.pid, signal.SIGKILL)
    until(lambda: len({result["result_id"] for result in cart.results()}) == len(jobs))
    assert {result["outcome"] for result in cart.results()} == {"completed"}
    until(lambda: cart.spool.backlog()[0] == 0)
    until(lambda: not list(cart.spool.instances.iterdir()))


def test_a_database_that_knows_less_than_the_last_life_throws_no_image_away(cart: Any, until: Any) -> None:
    cart.backends = ("fake-absent",)
    cart.configure()
    database = cart.spool.folder / "spool.sqlite"
    cart.forget_spool()
    before = {path.name: path.read_bytes() for path in database.parent.glob("spool.sqlite*")}
    cart.start()
    until(lambda: cart.spool.holds())
    for _ in range(3):
        cart.admit()
    note = database.parent / "roles" / "supervise.note"
    until(lambda: read_note(note).detail.get("instances") == 3)
    cart.process.kill()
    cart.process.wait()
    until(lambda: not is_held(note))
    cart.forget_spool()
    for path in database.parent.glob("spool.sqlite*"):
        path.unlink()
    for name, body in before.items():  # an older copy of the database, as a restored backup is
        (database.parent / name).write_bytes(body)
    cart.start()
    until(lambda: cart.events("spool.images-lost"))
    until(lambda: len(list(database.parent.glob("lost/*"))) == 3)
