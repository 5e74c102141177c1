"""The account: each thing that would stop an image or a result is a problem with a name, and nothing else is one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeai.api import BundleRejected, SpoolError
from edgeai.bundle.keys import make_keys
from edgeai.config import DeviceConfig, load_config
from edgeai.health import KINDS, Health, read_health, status_body
from edgeai.health.facts import gather
from edgeai.health.running import role_problems
from edgeai.health.status import ALIVE_EVERY_S, FIGURES_EVERY_S, StatusNews
from edgeai.roles.plan import read_plan
from edgeai.slots import Probation, SlotFolder, Slots
from edgeai.slots.record import Slot, encode
from edgeai.spool import Spool
from edgeai.spool.counters import add_count
from edgeai.spool.outbox import queue_message
from edgeai.testing.certificates import Authority
from edgeai.testing.examples import instance_ref

UP: dict[str, Any] = {"up": True, "since": 0.0, "code": None, "why": None}


class Device:
    """A spool whose roles this process plays: what they say is what a test lets them say."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.profile = folder / "profile.toml"
        self.profile.write_text(
            '[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[jsonl]\npath = "r.jsonl"\n'
            '[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\n' + more
        )
        self.config: DeviceConfig = load_config(self.profile)
        self.spool = Spool.of(self.config)
        self.spool.enable_sinks(["mqtt", "jsonl"])
        self.publish: dict[str, Any] = {"sinks": {"mqtt": UP, "jsonl": UP}, "watch": {}}
        self.beat()

    def beat(self, **publish: Any) -> None:
        """Every role says that it is well, and publish what it is given."""
        self.publish |= publish
        self.spool.beat("supervise", "ready")
        self.spool.beat("publish", "ready", **self.publish)
        self.spool.beat("infer:guard", "ready", model="m 1", backend="b")
        self.spool.beat("ingest", "ready", connections=0, rejections={})

    def watch(self, **seen: Any) -> None:
        """Publish saw this."""
        self.beat(watch=seen)

    def arrive(self, number: int = 1, deployment: str = "guard") -> None:
        received = self.spool.tmp / str(number)
        received.write_bytes(b"DICOM" * 100)
        instance = instance_ref(sop_instance_uid=f"2.25.{number}")
        self.spool.admit(instance, received, content=lambda: str(number), deployments=[deployment], source="test")

    def age(self, seconds: float) -> None:
        """Everything that waits has waited so long already."""
        with self.spool.db.write() as db:
            db.execute("UPDATE jobs SET created_at = created_at - ?", (seconds,))
            db.execute("UPDATE messages SET created_at = created_at - ?", (seconds,))

    def health(self) -> Health:
        return read_health(self.spool, self.config)

    def codes(self) -> list[str]:
        return [item.code for item in self.health().problems]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path, "[spool]\nreserve_bytes = 1000\n")
    yield made
    made.spool.close()


def test_a_device_with_nothing_wrong_serves_and_delivers(device: Device) -> None:
    health = device.health()
    assert (health.is_serving, health.is_delivering, health.state) == (True, True, "online")
    assert health.problems == ()
    assert health.summary == "serving, delivering"
    device.arrive()
    assert device.codes() == [], "an image that has just come is no problem"
    json.dumps(health.as_dict(), allow_nan=False)


def test_a_spool_that_nobody_runs_on_is_offline_and_neither_serves_nor_delivers(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text('[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n')
    config = load_config(tmp_path / "profile.toml")
    with closing(Spool.of(config)) as spool:
        health = read_health(spool, config)
    assert (health.is_serving, health.is_delivering, health.state) == (False, False, "offline")
    assert {item.about for item in health.problems} == {"supervise", "publish", "ingest"}


@pytest.mark.parametrize(
    ("role", "serving", "delivering"), [("infer:guard", False, True), ("ingest", False, True), ("publish", True, False)]
)
def test_a_process_that_is_gone_stops_what_it_does(device: Device, role: str, serving: bool, delivering: bool) -> None:
    device.spool._stations.pop(role).close()
    health = device.health()
    assert (health.is_serving, health.is_delivering) == (serving, delivering)
    [problem] = health.problems
    assert (problem.code, problem.about) == ("role.not-running", role)


@pytest.mark.parametrize(("role", "helper"), [("supervise", "systemd"), ("ingest", "supervisor")])
def test_a_process_that_says_nothing_is_a_problem_and_who_ends_it_is_said(
    device: Device, role: str, helper: str
) -> None:
    """The supervisor ends the others; over it itself nobody in the service watches."""
    facts = gather(device.spool, device.config)
    roles = tuple(replace(item, silent_s=1e6 if item.role == role else 0.0) for item in facts.roles)
    [problem] = role_problems(replace(facts, roles=roles))
    assert (problem.code, problem.about, problem.stops) == ("role.silent", role, "serving")
    assert helper in problem.remedy
    assert ("the supervisor ends" in problem.remedy) == (role != "supervise")


REPOSITORY = '[repository]\nurl = "https://ops.example/models"\n'


def test_an_update_role_is_listed_and_gone_it_stops_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path, f"updates = true\n{REPOSITORY}")
    with closing(device.spool):
        (lacking,) = device.health().problems
        assert (lacking.code, lacking.about, lacking.stops) == ("role.not-running", "update", "")
        device.spool.beat("update", "ready")
        health = device.health()
        assert (health.problems, health.roles[-1].role, health.roles[-1].alive) == ((), "update", True)
        assert read_plan(device.profile).roles[-1] == "update"


@pytest.mark.parametrize(
    "more",
    [REPOSITORY, "updates = true\n", "updates = true\n[repository]\n", f"updates = true\n{REPOSITORY}every_s = 0"],
)
def test_nobody_misses_an_update_role_that_the_profile_does_not_ask_for(tmp_path: Path, more: str) -> None:
    device = Device(tmp_path, more)
    with closing(device.spool):
        assert "update" not in [role.role for role in device.health().roles]
        assert "update" not in read_plan(device.profile).roles


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"withheld": 12}, "12 withheld"),
        ({"failed": 1, "withheld": 4}, "1 failed, 4 withheld"),
        ({"withheld": 4}, ""),
        ({"completed": 1, "withheld": 12}, ""),
        ({}, ""),
    ],
)
def test_a_probation_in_which_nothing_was_completed_is_named(tmp_path: Path, counts: dict[str, int], told: str) -> None:
    device = Device(tmp_path, "updates = true\n")
    state = SlotFolder.of_device(device.config, device.config.deployments[0]).state
    state.parent.mkdir(parents=True)
    slot = Slot(digest=f"sha256:{1:064x}", model="tiny", release=1, stage="good", since="now", stood=True)
    probation = Probation(since="now", needed=20, **counts)
    state.write_bytes(encode(Slots(a=slot, active="a", probation=probation)))
    with closing(device.spool):
        health = device.health()
    assert health.is_serving
    assert [(item.code, item.about, told in item.message) for item in health.problems] == (
        [("deployment.probation-silent", "guard", True)] if told else []
    )


def test_ingest_that_has_not_opened_its_port_yet_does_not_serve(device: Device) -> None:
    device.spool.beat("ingest", "starting")
    assert device.codes() == ["role.starting"]
    assert not device.health().is_serving


def test_a_deployment_that_cannot_run_holds_with_code_count_and_age(device: Device) -> None:
    device.arrive()
    device.age(500)
    device.spool.hold("guard", BundleRejected("nobody known signed it", code="bundle.untrusted", remedy="add the key"))
    device.spool.beat("infer:guard", "unavailable", code="bundle.untrusted", why="nobody known signed it")
    [problem] = device.health().problems
    assert (problem.code, problem.cause, problem.about) == ("deployment.held", "bundle.untrusted", "guard")
    assert problem.remedy == "add the key"
    assert (problem.facts["jobs"], problem.facts["oldest_s"]) == (1, pytest.approx(500, abs=60))
    assert device.health().deployments[0].state == "held"
    assert not device.health().is_serving


def test_a_deployment_that_fails_at_once_instead_is_unavailable(device: Device) -> None:
    device.spool.beat("infer:guard", "unavailable", code="backend.no-candidate", why="no engine")
    [problem] = device.health().problems
    assert (problem.code, problem.cause) == ("deployment.unavailable", "backend.no-candidate")


def test_jobs_that_wait_while_nothing_is_run_are_a_stall_and_a_long_queue_is_none(device: Device) -> None:
    device.arrive()
    device.age(60)
    [problem] = device.health().problems
    assert (problem.code, problem.facts["jobs"]) == ("infer.stalled", 1)
    assert not device.health().is_serving
    device.arrive(2)
    assert device.spool.claim("guard", "me") is not None
    assert device.codes() == [], "one is being run: the others wait for their turn"
    device.spool.release("guard")
    with device.spool.station("infer:guard").step("job", deadline_s=30):
        assert device.codes() == []
    with device.spool.db.write() as db:
        db.execute("UPDATE jobs SET state = 'done', finished_at = ? WHERE id = 1", (time.time(),))
        db.execute("UPDATE counters SET value = value - 1 WHERE name = 'jobs_acknowledged'")
    assert device.codes() == [], "one has just finished"


def test_a_step_that_outlived_its_deadline_and_goes_on_is_a_stall(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.health.running.OVERDUE_S", 0.0)
    with device.spool.station("infer:guard").step("job", deadline_s=0.01):
        time.sleep(0.05)
        assert device.codes() == ["infer.stalled"]
    assert device.codes() == []


def test_jobs_of_a_deployment_that_the_profile_no_longer_has_are_named(device: Device) -> None:
    device.arrive(1, "gone")
    [problem] = device.health().problems
    assert (problem.code, problem.about, problem.stops) == ("jobs.orphaned", "gone", "")
    assert device.health().is_serving


# --- arriving -----------------------------------------------------------------------------------


def test_the_disk_reserve_refuses_unless_kept_files_make_room(tmp_path: Path) -> None:
    device = Device(tmp_path, f"[spool]\nreserve_bytes = {10**15}\n")
    [problem] = device.health().problems
    assert (problem.code, problem.cause, problem.stops) == ("intake.refusing", "spool.disk-reserve", "serving")
    assert "spool.reserve_bytes" in problem.message
    with device.spool.db.write() as db:
        db.execute(
            "INSERT INTO instances (sop_instance_uid, ref, source, received_at, kept, bytes)"
            " VALUES ('1', '', '', 1, 1, ?)",
            (10**15,),
        )
    assert device.codes() == []
    assert [item.code for item in device.health().warnings if item.code == "disk.low"] == ["disk.low"]
    device.spool.close()


def test_a_backlog_at_its_bound_refuses_and_held_jobs_do_not_count_in_it(tmp_path: Path) -> None:
    device = Device(tmp_path, "[spool]\nreserve_bytes = 1000\nmax_backlog = 3\nmax_held = 4\n")
    for number in range(3):
        device.arrive(number)
    assert [item.cause for item in device.health().problems] == ["spool.backlog"]
    device.spool.hold("guard", BundleRejected("no", code="bundle.untrusted"))
    device.spool.beat("infer:guard", "unavailable", code="bundle.untrusted")
    assert device.codes() == ["deployment.held"]
    device.arrive(9)
    causes = {item.code: item.cause for item in device.health().problems}
    assert causes["intake.refusing"] == "spool.held"
    device.spool.close()


def test_no_inodes_are_no_room(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(device.spool.folder)

    def left(inodes: int) -> None:
        values = (*real[:6], inodes, inodes, *real[8:])
        monkeypatch.setattr("edgeai.health.facts.os.statvfs", lambda _: os.statvfs_result(values))

    left(0)
    [problem] = device.health().problems
    assert (problem.code, problem.facts["free_inodes"]) == ("intake.refusing", 0)
    left(100)
    assert device.codes() == []
    assert "disk.low" in {item.code for item in device.health().warnings}


def test_what_publish_saw_while_it_watched_is_said(device: Device) -> None:
    device.watch(write={"code": "spool.full", "why": "no space left", "since": 1.0})
    assert [(item.code, item.cause) for item in device.health().problems] == [("intake.refusing", "spool.full")]
    device.watch(write_hangs_s=60.0)
    assert [(item.code, item.cause) for item in device.health().problems] == [("intake.refusing", "spool.io")]
    device.watch(traffic={"refusing": {"code": "spool.busy", "count": 7, "since": 1.0}})
    [problem] = device.health().problems
    assert (problem.code, problem.cause, problem.facts["images"]) == ("intake.refusing", "spool.busy", 7)
    device.watch(spool={"damage": "row 7 missing from index"})
    health = device.health()
    assert [item.code for item in health.problems] == ["spool.damaged"]
    assert (health.is_serving, health.is_delivering) == (False, False)
    device.watch(clock={"jumped_s": 3600.0, "jumped_at": 1.0})
    assert (device.codes(), device.health().is_well) == ([], True)
    assert "clock.jumped" in {item.code for item in device.health().warnings}


def test_senders_that_are_turned_away_are_said_and_a_few_bad_connections_are_not(device: Device) -> None:
    device.watch(traffic={"full": 3})
    assert device.codes() == ["connections.full"]
    device.watch(traffic={"crowd": 3})
    assert device.codes() == []
    device.watch(traffic={"crowd": 40})
    assert device.codes() == []
    assert "connections.crowded" in {item.code for item in device.health().warnings}


# --- leaving ------------------------------------------------------------------------------------


def test_a_sink_that_is_down_stops_delivery_and_says_since_when(device: Device) -> None:
    since = time.time() - 300
    down = {"up": False, "code": "mqtt.unreachable", "why": "refused", "remedy": "start it", "since": since}
    device.beat(sinks={"mqtt": down, "jsonl": UP})
    health = device.health()
    [problem] = health.problems
    assert (problem.code, problem.about, problem.cause) == ("sink.down", "mqtt", "mqtt.unreachable")
    assert (problem.since, problem.remedy) == (since, "start it")
    assert (health.is_serving, health.is_delivering) == (True, False)


def test_messages_that_wait_although_the_sink_says_that_all_is_well(device: Device) -> None:
    device.spool.event("test.said", "one")
    device.age(3600)
    device.watch(traffic={"still_s": {"mqtt/event": 5.0, "jsonl/event": 5.0}})
    assert device.codes() == [], "an old backlog that moves is on its way"
    device.watch(traffic={"still_s": {"mqtt/event": 3000.0, "jsonl/event": 5.0}})
    [problem] = device.health().problems
    assert (problem.code, problem.about) == ("sink.stuck", "mqtt")


@pytest.mark.parametrize(
    ("word", "code", "delivering"),
    [
        ({"taken": True, "up": False, "code": "mqtt.session-taken-over"}, "identity.taken", False),
        ({"up": True, "refusing": {"event": "mqtt.not-authorised"}}, None, True),
        ({"up": True, "refusing": {"status": "mqtt.not-authorised"}}, "status.refused", True),
        ({"up": True, "unverified": True}, None, True),
    ],
)
def test_what_a_sink_says_of_itself(device: Device, word: dict[str, Any], code: str | None, delivering: bool) -> None:
    device.beat(sinks={"mqtt": {**UP, **word}, "jsonl": UP})
    health = device.health()
    assert [item.code for item in health.problems] == ([code] if code else [])
    assert health.is_delivering == delivering
    unverified = [item.message for item in health.warnings if item.code == "delivery.unverified"]
    assert len(unverified) == bool(word.get("unverified"))
    assert all("results, events and this device's status" in message for message in unverified)
    marked = {item["name"]: item["unverified"] for item in health.as_dict()["sinks"]}
    assert marked["mqtt"] is bool(word.get("unverified"))
    assert marked["jsonl"] is False
    body = status_body(device.config, health, "2026-01-01T00:00:00Z")
    assert [item["message"] for item in body["warnings"] if item["code"] == "delivery.unverified"] == unverified


def test_a_sink_refuses_results_until_it_lacks_none(device: Device) -> None:
    device.beat(sinks={"mqtt": {**UP, "refusing": {"result": "mqtt.not-authorised"}}, "jsonl": UP})
    assert device.codes() == [], "what it refused was dropped, and since then nobody knows"
    with device.spool.db.write() as db:
        queue_message(db, "key", "result/guard", b"{}")
        db.execute("DELETE FROM pending WHERE sink = 'jsonl'")
        add_count(db, "messages_delivered", sink="jsonl", lane="result")
    assert device.codes() == ["sink.refusing"]
    with device.spool.db.write() as db:
        db.execute("INSERT INTO set_aside SELECT sink, lane, sequence, 'mqtt.not-authorised', 'no', 1 FROM pending")
        db.execute("DELETE FROM pending")
    assert sorted(device.codes()) == ["messages.set-aside", "sink.refusing"]
    assert not device.health().is_delivering


def test_a_sink_that_no_plugin_provides_and_no_sink_at_all(device: Device, tmp_path: Path) -> None:
    device.beat(sinks={"mqtt": UP})
    assert device.codes() == ["sink.unknown"]
    device.beat(sinks={})
    assert device.codes() == ["sink.unknown"] * 2
    assert not device.health().is_delivering
    text = device.profile.read_text().replace("[jsonl]", "[jsonl]\nenabled = false")
    (tmp_path / "none.toml").write_text(f"{text}[mqtt]\nenabled = false\n")
    health = read_health(device.spool, load_config(tmp_path / "none.toml"))
    assert "sink.none" in {item.code for item in health.problems}
    assert not health.is_delivering


def test_messages_that_were_refused_for_good_are_named_until_someone_deals_with_them(device: Device) -> None:
    device.spool.event("test.said", "one")
    with device.spool.db.write() as db:
        db.execute(
            "INSERT INTO set_aside SELECT sink, lane, sequence, 'mqtt.not-authorised', 'no', 1 FROM pending"
            " WHERE sink = 'mqtt'"
        )
        db.execute("DELETE FROM pending WHERE sink = 'mqtt'")
    [problem] = device.health().problems
    assert (problem.code, problem.about, problem.facts["messages"]) == ("messages.set-aside", "mqtt", 1)
    assert device.health().is_delivering


def test_a_sum_that_does_not_add_up_is_a_problem(device: Device) -> None:
    device.arrive()
    device.spool.event("test.said", "one")
    with device.spool.db.write() as db:
        db.execute("DELETE FROM jobs")
        db.execute("DELETE FROM pending WHERE sink = 'jsonl'")
    problems = {item.code: item for item in device.health().problems}
    assert set(problems) == {"ledger.jobs", "ledger.messages"}
    assert problems["ledger.jobs"].facts["missing"] == problems["ledger.messages"].facts["missing"] == 1


# --- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "serving"), [("send", False), ("analyse", False), ("deliver", True)])
def test_a_failed_selftest_stops_what_it_got_stuck_in(device: Device, stage: str, serving: bool) -> None:
    device.watch(selftest={"passed": True})
    assert device.codes() == []
    device.watch(selftest={"passed": False, "stage": stage, "code": "selftest.refused", "message": "no", "since": 1.0})
    health = device.health()
    [problem] = health.problems
    assert (problem.code, problem.cause) == ("selftest.failed", "selftest.refused")
    assert (health.is_serving, health.is_delivering) == (serving, not serving)


def test_a_spool_that_cannot_be_read_is_an_answer_and_no_exception(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SpoolError("reading the spool: malformed", code="spool.corrupt", remedy="keep a copy")

    monkeypatch.setattr("edgeai.health.facts.read_ledger", fail)
    health = device.health()
    assert (health.is_serving, health.is_delivering) == (False, False)
    assert [(item.code, item.cause) for item in health.problems] == [("spool.damaged", "spool.corrupt")]


def test_what_a_dead_publish_saw_is_not_believed(device: Device) -> None:
    device.watch(selftest={"passed": False, "stage": "send", "message": "no"})
    device.spool._stations.pop("publish").close()
    assert device.codes() == ["role.not-running"]


def test_certificates_of_the_profile_are_looked_at_on_their_own_side(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    ended, fine = authority.issue("dicom", valid_days=-1), authority.issue("cart", valid_days=20)

    def tls(where: str, identity: Any) -> str:
        return f'[{where}.tls]\ncertificate = "{identity.certificate}"\nkey = "{identity.key}"\n'

    device = Device(tmp_path, tls("ingest.scp", ended) + tls("mqtt", fine) + "[spool]\nreserve_bytes = 1000\n")
    health = device.health()
    [problem] = health.problems
    assert (problem.code, problem.about) == ("certificate.expired", "ingest.scp.tls.certificate")
    assert (health.is_serving, health.is_delivering) == (False, True)
    device.spool.close()


@pytest.mark.parametrize(
    ("ends_in_days", "codes"),
    [(400, []), (15, []), (13, ["key.expiring"]), (0, ["key.expiring"]), (-1, ["key.expired"])],
)
def test_a_key_that_ends_soon_or_has_ended_is_a_warning(tmp_path: Path, ends_in_days: int, codes: list[str]) -> None:
    make_keys("release", tmp_path / "trust")
    ends = (datetime.now(UTC) + timedelta(days=ends_in_days)).date()
    (tmp_path / "trust" / "trust.toml").write_text(f"[keys.release]\nends = {ends}\n")
    device = Device(tmp_path, "[spool]\nreserve_bytes = 1000\n")
    warnings = [item for item in device.health().warnings if item.code.startswith("key.")]
    assert [item.code for item in warnings] == codes
    assert all(item.about == "release" and str(ends) in item.message for item in warnings)
    assert device.health().state == "online", "what runs goes on"
    device.spool.close()


def test_keys_are_nobodys_worry_where_unsigned_bundles_run_or_the_file_is_wrong(tmp_path: Path) -> None:
    make_keys("release", tmp_path / "trust")
    (tmp_path / "trust" / "trust.toml").write_text("[keys.release]\nends = 2001-01-01\n")
    device = Device(tmp_path, '[trust]\nunsigned = "accept"\n[spool]\nreserve_bytes = 1000\n')
    assert not [item for item in device.health().warnings if item.code.startswith("key.")]
    device.spool.close()
    (tmp_path / "trust" / "trust.toml").write_text("[keys.nobody]\n")
    device = Device(tmp_path, "[spool]\nreserve_bytes = 1000\n")
    [warning] = [item for item in device.health().warnings if item.code.startswith("key.")]
    assert (warning.code, warning.cause) == ("key.bounds-wrong", "keys.bounds")
    assert "keys.nobody" in warning.message
    device.spool.close()


def test_the_state_of_the_status_leaves_out_what_only_its_absence_can_tell(device: Device) -> None:
    device.beat(sinks={"mqtt": {**UP, "up": False, "why": "away"}, "jsonl": {**UP, "up": False, "why": "disk"}})
    body = status_body(device.config, device.health(), "2026-01-01T00:00:00+00:00")
    assert [item["about"] for item in body["problems"]] == ["jsonl"]
    assert (body["state"], body["serving"], body["delivering"]) == ("degraded", True, False)


def test_every_kind_of_problem_says_what_to_do(repo_root: Path) -> None:
    assert all(kind.remedy and kind.remedy == kind.remedy.strip() for kind in KINDS.values())
    assert all(kind.level == "problem" for kind in KINDS.values() if kind.stops), "what stops something is no warning"
    page = (repo_root / "docs/reference/health.md").read_text()
    rows = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and "." in line.split("`")[1]}
    assert rows == set(KINDS)


# --- what the fleet is told of updates ------------------------------------------------------------------


def updating(tmp_path: Path, **looked: Any) -> dict[str, Any]:
    """The status of a device whose update role says this of its last look; it obeys the schema."""
    device = Device(tmp_path, f"updates = true\n{REPOSITORY}")
    with closing(device.spool):
        device.spool.beat("update", "ready", looks="ready", due_s=5, **looked)
        status = status_body(device.config, device.health(), "2026-01-01T00:00:00+00:00")
    body: dict[str, Any] = json.loads(json.dumps(status))
    schema = json.loads((Path(__file__).parents[2] / "edgeai/schemas/status-2.json").read_text())
    Draft202012Validator(schema).validate(body)
    return body


def test_the_status_says_what_the_last_look_came_to_and_when_all_of_it_was_so(tmp_path: Path) -> None:
    told = {"at": "2026-01-01T00:00:00+00:00", "outcome": "refused", "code": "slots.bad", "message": "it failed here"}
    body = updating(tmp_path, looked={"guard": told, "other": {}})
    assert body["deployments"][0]["update"] == told
    assert body["machine"]
    assert abs(datetime.fromisoformat(body["at"]).timestamp() - time.time()) < 3600


def test_what_a_look_says_of_no_deployment_it_says_of_each(tmp_path: Path) -> None:
    told = {"at": "2026-01-01T00:00:00+00:00", "outcome": "refused", "code": "update.unreachable", "message": "gone"}
    assert updating(tmp_path, looked={"": told})["deployments"][0]["update"] == told


@pytest.mark.parametrize("looked", [{}, {"looked": "nonsense"}, {"looked": {"other": {"outcome": "none"}}}])
def test_before_a_look_the_status_says_nothing_of_one(tmp_path: Path, looked: dict[str, Any]) -> None:
    assert updating(tmp_path, **looked)["deployments"][0]["update"] is None


def test_an_idle_device_says_its_status_now_and_then_and_its_clock_alone_is_no_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("edgeai.health.status.time.monotonic", lambda: clock[0])
    news, idle = StatusNews(), {"state": "online", "ledger": {"jobs": 1}}
    assert news.is_news({**idle, "at": "10:00"})
    assert not news.is_news({**idle, "at": "10:01"})
    clock[0] += FIGURES_EVERY_S
    assert not news.is_news({**idle, "at": "10:02"})
    assert news.is_news({**idle, "ledger": {"jobs": 2}, "at": "10:03"}), "figures now and then"
    clock[0] += ALIVE_EVERY_S - 1.0
    assert not news.is_news({**idle, "ledger": {"jobs": 2}, "at": "10:18"})
    clock[0] += 1.0
    assert news.is_news({**idle, "ledger": {"jobs": 2}, "at": "10:19"}), "it lives"
    assert news.is_news({**idle, "state": "degraded", "at": "10:19"}), "at once"
