"""What publish looks after: the clock, certificates, the spool, whether it can be written, refusals, the timer."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeai.api import SpoolError, SpoolFull
from edgeai.config import DeviceConfig, load_config
from edgeai.health import Watch
from edgeai.health.certificates import certificate_problems, certificates
from edgeai.health.clock import ClockWatch, is_synchronised
from edgeai.health.integrity import check_spool
from edgeai.health.timer import SelftestTimer
from edgeai.health.traffic import Traffic
from edgeai.spool import Spool
from edgeai.spool.soundness import quick_check, schema_differences, try_writing
from edgeai.testing.certificates import Authority
from edgeai.testing.waiting import until

DAY_S = 86_400.0


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    (tmp_path / "profile.toml").write_text('[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n')
    return load_config(tmp_path / "profile.toml")


@pytest.fixture
def spool(config: DeviceConfig) -> Iterator[Spool]:
    opened = Spool.of(config)
    yield opened
    opened.close()


# --- the clock ----------------------------------------------------------------------------------


def test_a_clock_that_jumps_is_noticed_and_one_that_slews_or_sleeps_is_not() -> None:
    wall, boot = [1000.0], [0.0]
    watch = ClockWatch(lambda: wall[0], lambda: boot[0])

    def later(seconds: float, more: float = 0.0) -> float:
        boot[0] += seconds
        wall[0] += seconds + more
        return watch.look()

    assert [later(1), later(1, 0.4), later(1, -0.4), later(9000)] == [0.0] * 4
    assert watch.detail() == {}
    assert later(1, 3600.0) == pytest.approx(3600)
    assert watch.detail()["jumped_s"] == 3600.0
    assert later(1) == 0.0
    assert later(1, -7200.0) == pytest.approx(-7200)
    assert watch.detail() == {"jumped_s": -7200.0, "jumped_at": pytest.approx(wall[0], abs=0.1)}
    later(25 * 3600)
    assert watch.detail() == {}


def test_the_real_clock_does_not_jump_between_two_looks() -> None:
    watch = ClockWatch()
    assert watch.look() == 0.0
    assert is_synchronised() in (True, False, None)


# --- certificates -------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ca").mkdir()
    return Authority(tmp_path / "ca")


def listed(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "tls.toml").write_text(f'[device]\nid = "cart"\nsite = "lab"\n{text}')
    return {item.name: item for item in certificates(load_config(tmp_path / "tls.toml"))}


def codes(item: Any, in_days: float = 0.0) -> list[str]:
    return [problem.code for problem in certificate_problems(item, time.time() + in_days * DAY_S)]


def test_a_certificate_is_fine_then_ends_soon_then_has_ended(tmp_path: Path, authority: Authority) -> None:
    cart = authority.issue("cart", valid_days=20)
    [item] = listed(tmp_path, f'[mqtt.tls]\ncertificate = "{cart.certificate}"\nkey = "{cart.key}"\n').values()
    assert codes(item) == []
    assert codes(item, 7) == ["certificate.expiring"]
    assert codes(item, 21) == ["certificate.expired"]
    assert codes(item, -31) == ["certificate.not-yet-valid"]
    assert item.as_dict(time.time())["expires_s"] == pytest.approx(20 * DAY_S, abs=600)


@pytest.mark.parametrize("key", ["certificate", "ca"])
@pytest.mark.parametrize("table", ["mqtt.tls", "ingest.scp.tls"])
def test_of_one_that_has_ended_nothing_is_said_that_has_not_come_yet(
    tmp_path: Path, authority: Authority, table: str, key: str
) -> None:
    """A connection that stands goes on, and whom an authority vouches for is refused by this side."""
    cart = authority.issue("cart", valid_days=-1)
    text = f'[{table}]\ncertificate = "{cart.certificate}"\nkey = "{cart.key}"\nca = "{cart.certificate}"\n'
    [problem] = certificate_problems(listed(tmp_path, text)[f"{table}.{key}"], time.time())
    assert problem.code == "certificate.expired"
    assert not re.search(r"\brefuses?\b", problem.message)
    who = {"mqtt.tls": "broker", "ingest.scp.tls": "senders"}[table]
    assert who in problem.message
    assert ("that check" in problem.message) == (key == "certificate")


def test_what_is_loaded_counts_and_not_the_file(tmp_path: Path, authority: Authority) -> None:
    """A green light by a file that nobody has loaded would let senders run into an ended certificate."""
    cart = authority.issue("cart", valid_days=5)
    text = f'[mqtt.tls]\ncertificate = "{cart.certificate}"\nkey = "{cart.key}"\n'
    [item] = listed(tmp_path, text).values()
    loaded = {"mqtt.tls.certificate": {"periods": [[item.begins_at, item.ends_at]]}}
    config = load_config(tmp_path / "tls.toml")
    authority.issue("cart", valid_days=90)  # in its place
    assert codes(next(certificates(config)), 6) == []
    [item] = certificates(config, {}, None, {"loaded": loaded, "refusal": ""})
    assert codes(item, 6) == ["certificate.expired"]
    [problem] = certificate_problems(item, time.time())
    assert (problem.code, "the file was renewed" in problem.remedy) == ("certificate.expiring", True)
    assert item.as_dict(time.time())["expires_s"] == pytest.approx(5 * DAY_S, abs=600)
    cart.certificate.write_text("broken")
    [item] = certificates(config, {"loaded": loaded, "refusal": "no certificate in it"})
    assert codes(item) == ["certificate.not-renewed", "certificate.expiring"], "and it goes on serving"


def test_of_a_chain_the_first_end_counts_and_of_authorities_the_last(tmp_path: Path, authority: Authority) -> None:
    old, new = (authority.issue(name, valid_days=days) for name, days in (("old", -1), ("new", 30)))
    both = tmp_path / "both.pem"
    both.write_bytes(old.certificate.read_bytes() + new.certificate.read_bytes())
    items = listed(
        tmp_path, f'[mqtt.tls]\nca = "{both}"\n[ingest.scp.tls]\ncertificate = "{both}"\nkey = "{old.key}"\n'
    )
    assert codes(items["mqtt.tls.ca"]) == []
    assert codes(items["mqtt.tls.ca"], 20) == ["certificate.expiring"]
    assert codes(items["mqtt.tls.ca"], 31) == ["certificate.expired"]
    assert codes(items["ingest.scp.tls.certificate"]) == ["certificate.expired"]


def test_a_certificate_that_is_renewed_is_read_again_and_one_that_is_none_is_said(
    tmp_path: Path, authority: Authority
) -> None:
    ca = tmp_path / "ca.pem"
    text = f'[mqtt.tls]\nca = "{ca}"\n'
    assert codes(listed(tmp_path, text)["mqtt.tls.ca"]) == ["certificate.unreadable"]
    ca.write_text("no certificate")
    assert codes(listed(tmp_path, text)["mqtt.tls.ca"]) == ["certificate.unreadable"]
    ca.write_bytes(authority.issue("a", valid_days=-1).certificate.read_bytes())
    assert codes(listed(tmp_path, text)["mqtt.tls.ca"]) == ["certificate.expired"]
    ca.write_bytes(authority.issue("b", valid_days=99).certificate.read_bytes())
    assert codes(listed(tmp_path, text)["mqtt.tls.ca"]) == []
    assert listed(tmp_path, f"[mqtt]\nenabled = false\n{text}") == {}, "what is not in use does no harm"


# --- soundness ----------------------------------------------------------------------------------


def fill(spool: Spool, rows: int = 300) -> None:
    with spool.db.write() as db:
        for number in range(rows):
            db.execute(
                "INSERT INTO instances (sop_instance_uid, ref, source, received_at) VALUES (?, ?, 'x', 1)",
                (f"1.2.{number}", "r" * 500),
            )


def test_a_sound_spool_has_nothing_to_say(spool: Spool) -> None:
    fill(spool)
    assert quick_check(spool.db.path) == schema_differences(spool.db.path) == ""
    finding = check_spool(spool.db.path)
    assert finding.why == ""
    assert finding.next_after_s >= 30


def test_a_spool_of_0_1_0_that_was_brought_forward_is_as_if_made_anew(tmp_path: Path, repo_root: Path) -> None:
    with tarfile.open(repo_root / "tests/golden/spools/0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    [database] = tmp_path.rglob("spool.sqlite")
    with closing(Spool(database.parent)) as spool:
        assert check_spool(spool.db.path).why == ""


@pytest.mark.parametrize("how", ["garbage", "cut", "removed"])
def test_a_write_ahead_log_that_is_damaged_while_it_is_in_use_is_seen(spool: Spool, how: str) -> None:
    fill(spool)
    log = Path(f"{spool.db.path}-wal")
    assert log.stat().st_size > 0
    if how == "garbage":
        log.write_bytes(os.urandom(log.stat().st_size))
    elif how == "cut":
        os.truncate(log, log.stat().st_size // 2)
    else:
        log.unlink()
    assert check_spool(spool.db.path).why != ""


def test_a_page_of_the_database_that_is_damaged_is_seen(spool: Spool) -> None:
    fill(spool)
    with spool.db.read() as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with spool.db.path.open("r+b") as file:
        file.seek(4096 * 12)
        file.write(os.urandom(4096 * 6))
    assert check_spool(spool.db.path).why != ""


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("DROP INDEX jobs_unfinished", "jobs_unfinished"),
        ("DROP TABLE holds", "holds"),
        ("ALTER TABLE jobs ADD COLUMN more TEXT", "jobs"),
        ("CREATE TABLE strange (x)", "strange"),
        ("PRAGMA user_version = 7", "7"),
    ],
)
def test_a_schema_that_somebody_changed_is_seen(spool: Spool, change: str, word: str) -> None:
    with closing(sqlite3.connect(spool.db.path)) as db:
        db.execute(change)
    assert word in check_spool(spool.db.path).why


def test_more_than_this_version_knows_is_no_damage_in_a_newer_minor(spool: Spool) -> None:
    with closing(sqlite3.connect(spool.db.path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute("ALTER TABLE jobs ADD COLUMN more TEXT")
        db.execute("CREATE TABLE more (x)")
        db.execute(f"PRAGMA user_version = {version + 1}")
    assert check_spool(spool.db.path).why == ""


# --- a trial of writing -------------------------------------------------------------------------


def test_a_trial_leaves_nothing_behind(spool: Spool) -> None:
    before = sorted(path.name for path in spool.folder.rglob("*"))
    for _ in range(3):
        try_writing(spool, 4096)
    assert sorted(path.name for path in spool.folder.rglob("*")) == before
    assert spool.counters() == []


def test_a_trial_fails_as_an_image_would(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edgeai.spool.soundness.os.write", full)
        with pytest.raises(SpoolFull):
            try_writing(spool, 4096)
    assert not (spool.folder / "trial").exists()
    with spool.db.write() as db:
        db.execute("DROP TABLE counters")
    with pytest.raises(SpoolError):
        try_writing(spool, 4096)


def test_the_watch_says_what_it_sees_and_that_it_is_over(config: DeviceConfig, spool: Spool) -> None:
    spool.enable_sinks(["a"])
    fill(spool)
    watch = Watch(config, spool)
    watch.start()
    try:
        until(lambda: watch.detail()["spool"].get("checked_at"))
        assert watch.detail()["spool"]["damage"] == ""
        spool.db.path.with_name("spool.sqlite-wal").write_bytes(b"damaged" * 3000)
        watch._recheck.set()
        until(lambda: watch.detail()["spool"]["damage"])
    finally:
        watch.close()
        watch.close()
    assert not [thread for thread in threading.enumerate() if thread.name in ("watch", "integrity")]


# --- traffic ------------------------------------------------------------------------------------


def test_refusals_of_the_device_speak_until_an_image_comes_in(spool: Spool) -> None:
    spool.count("instances", outcome="refused", code="spool.disk-reserve")
    traffic = Traffic(spool)
    traffic.look()
    assert traffic.detail()["refusing"] == {}, "what was before the first look was not lately"
    for code in ("dicom.truncated", "pixels.dimensions"):
        spool.count("instances", outcome="refused", code=code)
    traffic.look()
    assert traffic.detail()["refusing"] == {}, "the images were at fault"
    for _ in range(3):
        spool.count("instances", outcome="refused", code="spool.busy")
    traffic.look()
    assert {name: traffic.detail()["refusing"][name] for name in ("code", "count")} == {
        "code": "spool.busy",
        "count": 3,
    }
    spool.count("instances", outcome="received", code="")
    traffic.look()
    assert traffic.detail()["refusing"] == {}


def test_old_refusals_do_not_speak_of_the_present(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = Traffic(spool)
    traffic.look()
    spool.count("instances", outcome="refused", code="spool.busy")
    spool.beat("ingest", "ready", rejections={"too-many": 2, "evicted": 5, "not-a-peer": 9})
    traffic.look()
    assert traffic.detail()["refusing"]["code"] == "spool.busy"
    assert (traffic.detail()["full"], traffic.detail()["crowd"]) == (2, 5)
    monkeypatch.setattr("edgeai.health.traffic.RECENT_S", 0.0)
    time.sleep(0.01)
    traffic.look()
    assert traffic.detail()["refusing"] == {}
    assert (traffic.detail()["full"], traffic.detail()["crowd"]) == (0, 0)


def test_what_left_a_sink_and_what_stands_still(spool: Spool) -> None:
    spool.count("messages_delivered", sink="a", lane="event")
    spool.count("messages_delivered", sink="b", lane="event")
    traffic = Traffic(spool)
    traffic.look()
    time.sleep(0.3)
    spool.count("messages_delivered", sink="a", lane="event")
    traffic.look()
    still = traffic.detail()["still_s"]
    assert still["a/event"] < still["b/event"]


# --- the timer ----------------------------------------------------------------------------------


def timer(tmp_path: Path, script: str, every_s: float, lines: list[str]) -> SelftestTimer:
    (tmp_path / "timer.toml").write_text(
        f'[device]\nid = "cart"\nsite = "lab"\n[health]\nselftest_every_s = {every_s}\n'
    )
    made = SelftestTimer(
        load_config(tmp_path / "timer.toml"), tmp_path / "timer.toml", lambda kind, *_: lines.append(kind)
    )
    made._command = [sys.executable, "-c", script]
    made._due_at = 0.0
    return made


def look_until(made: SelftestTimer, true: Callable[[], Any]) -> None:
    def look() -> Any:
        made.look()
        return true()

    until(look)


PASSED = "print('{\"passed\": true}')"
FAILED = 'print(\'{"passed": false, "code": "selftest.refused", "stage": "send", "message": "no"}\'); exit(1)'


def test_the_timer_says_when_a_test_fails_and_when_one_passes_again(tmp_path: Path) -> None:
    lines: list[str] = []
    made = timer(tmp_path, FAILED, 0.01, lines)
    look_until(made, lambda: made.detail().get("passed") is False)
    assert made.detail()["code"] == "selftest.refused"
    since = made.detail()["since"]
    look_until(made, lambda: made.detail()["ended_at"] > since + 0.2)
    assert (lines, made.detail()["since"]) == (["selftest.failed"], since), "said once, since the first"
    made._command = [sys.executable, "-c", PASSED]
    look_until(made, lambda: made.detail()["passed"])
    assert lines == ["selftest.failed", "selftest.passed"]
    made.close()


@pytest.mark.parametrize("script", ["print('no JSON')", "print('[]')", "raise SystemExit(70)", "import os; os.abort()"])
def test_a_test_that_breaks_is_a_test_that_failed(tmp_path: Path, script: str) -> None:
    made = timer(tmp_path, script, 0.01, [])
    look_until(made, made.detail)
    assert (made.detail()["passed"], made.detail()["code"]) == (False, "selftest.broken")
    made.close()


def test_a_test_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeai.health.timer.LIMIT_S", 0.2)
    monkeypatch.setattr("edgeai.health.timer.PATIENCE_S", 0.2)
    made = timer(tmp_path, "import time; time.sleep(600)", 60, [])
    look_until(made, made.detail)
    assert made.detail()["passed"] is False
    made.close()


def test_no_test_runs_unless_the_profile_says_so_and_none_outlives_the_timer(tmp_path: Path) -> None:
    made = timer(tmp_path, PASSED, 0, [])
    for _ in range(5):
        made.look()
    assert made.detail() == {}
    running = timer(tmp_path, "import time; time.sleep(600)", 60, [])
    running.look()
    process = running._process
    assert isinstance(process, subprocess.Popen)
    running.close()
    assert process.poll() is not None
