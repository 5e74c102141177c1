"""``edgeai selftest``: a phantom gets through a cart that works, and says where it got stuck on one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.selftest import MANUFACTURER, MODEL_NAME, UID_ROOT
from edgeai.testing.broker import Mosquitto
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.phantoms import write_instance

pytestmark = pytest.mark.system


def selftest(cart: Any, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and what it says."""
    done = cart.command("selftest", str(cart.path), "--json", *options)
    return done.returncode, json.loads(done.stdout)


def test_a_phantom_travels_the_whole_way_and_no_reader_of_results_sees_it(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.deploy("other")
    heard = cart.listen()
    cart.start()
    status, printed = selftest(cart)
    assert (status, printed["passed"], printed["in"], printed["out"]) == (0, True, "C-STORE", "broker")
    assert {(end["deployment"], end["ended"]) for end in printed["ends"]} == {
        ("guard", "completed"),
        ("other", "completed"),
    }
    assert heard.results() == heard.results("other") == {}
    [end] = until(lambda: heard.on("selftest/guard"))
    assert end["selftest"].startswith(UID_ROOT)
    assert "findings" not in end
    page = cart.command("selftest", str(cart.path))
    assert page.returncode == 0
    assert "the self-test passed: C-STORE to broker" in page.stdout
    ends = 'edgeai_selftest_results_total{backend="fake-works",code="",deployment="guard",outcome="completed"} 2.0'
    both = (ends, 'edgeai_instances_total{code="",outcome="selftest"} 2.0')
    metrics = until(lambda: all(each in (text := cart.get("/metrics")[1]) for each in both) and text)
    for patients in ("edgeai_results_total{", 'outcome="received"', "edgeai_stage_seconds_count{"):
        assert patients not in metrics, f"{patients} counts phantoms"
    patient = cart.send()[0]
    assert cart.result_of(patient)["outcome"] == "completed"
    for counted in (
        'deployment="guard",outcome="completed"} 1.0',
        'edgeai_instances_total{code="",outcome="received"} 1.0',
        'edgeai_stage_seconds_count{deployment="guard",stage="total"} 1.0',
    ):
        until(lambda counted=counted: counted in cart.get("/metrics")[1], what=counted)
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    ledger = cart.health()[1]["ledger"]
    assert all(entry["missing"] == 0 for place in ledger.values() for entry in place)
    assert ledger["jobs"][0]["finished"] == 3  # two phantoms, and the patient


def test_an_image_of_a_patient_is_no_phantom_whatever_one_mark_says(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    pixels = np.full((32, 32), cart.DULL, np.uint8)
    uids = {
        name: f"{UID_ROOT}.1.{number}"
        for number, name in enumerate(("sop_instance_uid", "series_instance_uid", "study_instance_uid"))
    }
    marked = {"Manufacturer": MANUFACTURER, "ManufacturerModelName": MODEL_NAME}
    half = [
        write_instance(cart.folder / "by-uid.dcm", pixels, **uids),
        write_instance(cart.folder / "by-name.dcm", pixels, attributes=marked),
    ]
    assert set(cart.store(*half).values()) == {"Success"}
    for phantom in half:
        assert cart.result_of(phantom)["outcome"] == "completed"


def test_without_port_and_broker_it_takes_the_folder_and_the_lines(cart: Any, tmp_path: Path) -> None:
    cart.deploy()
    folder, lines = tmp_path / "inbox", tmp_path / "results.jsonl"
    folder.mkdir()
    cart.profile["ingest"] = {"scp": {"enabled": False}, "folders": [{"path": str(folder), "settle_s": 0.2}]}
    cart.profile["mqtt"] = {"enabled": False}
    cart.profile["jsonl"] = {"path": str(lines)}
    cart.start()
    status, printed = selftest(cart)
    assert (status, printed["passed"], printed["in"], printed["out"]) == (0, True, "watched folder", "JSON lines")
    assert [path for path in folder.rglob("*") if path.is_file()] == [], "it takes its files away again"
    assert all("findings" not in json.loads(line) for line in lines.read_text().splitlines())


def test_it_says_where_the_phantom_got_stuck(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.profile["spool"]["reserve_bytes"] = 10**15
    cart.listen()
    cart.start(ready=False)
    until(lambda: set(cart.problems()) == {"intake.refusing"})
    status, printed = selftest(cart)
    assert (status, printed["stage"], printed["code"]) == (1, "send", "selftest.refused")
    assert "0xA700" in printed["message"]
    cart.stop()
    status, printed = selftest(cart)
    assert (status, printed["stage"], printed["code"]) == (1, "send", "scu.rejected")
    assert printed["remedy"]


def test_an_engine_that_fails_and_a_deployment_that_is_held(cart: Any, until: Any) -> None:
    cart.add_backend("bad-engine", "raise")
    cart.deploy(backends=["bad-engine"], when_unavailable="fail")
    cart.listen()
    cart.start()
    status, printed = selftest(cart)
    assert (status, printed["stage"]) == (1, "analyse")
    assert printed["code"].partition(".")[0] in ("backend", "plugin")
    cart.stop()
    cart.profile["deployments"][0] |= {"bundle": str(cart.folder / "missing.edgeai"), "when_unavailable": "hold"}
    cart.write()
    cart.start(ready=False)
    until(lambda: "deployment.held" in cart.problems())
    status, printed = selftest(cart)
    assert (status, printed["stage"]) == (1, "analyse")
    assert printed["code"].startswith("bundle.")


def test_a_phantom_that_is_still_on_its_way_is_not_followed_by_another(cart: Any, until: Any) -> None:
    flag = cart.folder / "hangs"
    flag.touch()
    cart.deploy(misbehave=Misbehaviour(how="hang", flag=str(flag)), deadline_s=600)
    cart.listen()
    cart.start()
    status, printed = selftest(cart, "--timeout", "2")
    assert (status, printed["stage"], printed["code"]) == (1, "analyse", "selftest.unfinished")
    for _ in range(2):
        status, printed = selftest(cart)
        assert (status, printed["code"]) == (1, "selftest.unfinished")
    assert cart.health()[1]["jobs_waiting"] == 1
    flag.unlink()
    cart.kill("infer:guard")
    until(lambda: cart.health()[1]["jobs_waiting"] == 0 and cart.health()[1]["messages_waiting"] == 0)
    assert selftest(cart)[0] == 0


def test_a_broker_that_is_away_or_lets_nobody_read_it(cart: Any, until: Any, mosquitto: str, tmp_path: Path) -> None:
    cart.deploy()
    cart.start()
    status, printed = selftest(cart)
    assert (status, printed["stage"]) == (1, "deliver")
    assert printed["code"].startswith("mqtt.")
    (tmp_path / "acl").write_text("topic write edgeai/1/lab/cart/#\n")
    (tmp_path / "strict").mkdir()
    strict = Mosquitto(tmp_path / "strict", port=cart.broker.port, extra=f"acl_file {tmp_path / 'acl'}")
    with strict:
        until(lambda: cart.health()[0] == 200)
        status, printed = selftest(cart, "--timeout", "3")
    assert (status, printed["stage"], printed["code"]) in (
        (1, "deliver", "selftest.undelivered"),
        (1, "deliver", "mqtt.not-authorised"),
    )
    assert "self-test topic" in printed["remedy"] or printed["code"] == "mqtt.not-authorised"


def test_on_a_timer_a_failure_is_a_problem_until_one_passes(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.profile["health"]["selftest_every_s"] = 1
    heard = cart.listen()
    cart.start()
    until(lambda: (cart.health()[1]["selftest"] or {}).get("passed"))
    until(lambda: "edgeai_selftest_passed 1.0" in cart.get("/metrics")[1])
    cart.end_broker(kill=True)
    until(lambda: "selftest.failed" in cart.problems())
    assert cart.problems()["selftest.failed"]["stops"] == ["delivering"]
    cart.start_broker()
    until(lambda: cart.health()[0] == 200)
    until(lambda: heard.events("selftest.failed") and heard.events("selftest.passed"))
    assert heard.results() == {}
