"""The infer role under a real supervisor: every job gets a result, and none looks like a negative by accident."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import edgeai
from edgeai.hosting import PluginInfo
from edgeai.model import open_model
from edgeai.model.kept_threads import cores
from edgeai.model.threads import Turn
from edgeai.plugins import Registry, load_from
from edgeai.spool import BUCKETS_MS
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.phantoms import PATIENT_NAME, write_instance

DULL, BRIGHT = 60, 250

RESULT_SCHEMA = json.loads((Path(edgeai.__file__).parent / "schemas" / "result-2.json").read_text())


def assert_failed(result: dict[str, Any], code: str) -> None:
    assert (result["outcome"], result["reason"]["code"], result["findings"]) == ("failed", code, [])


def test_a_job_becomes_a_result_that_names_everything(cart: Any, until: Any) -> None:
    cart.configure()
    cart.start()
    cart.ready()
    phantom = cart.admit(BRIGHT)
    result = cart.result_of(phantom)
    Draft202012Validator(RESULT_SCHEMA).validate(result)
    assert result["outcome"] == "completed"
    assert {finding["label"] for finding in result["findings"]} == {"dull", "bright"}
    assert (result["engine"]["backend"], result["engine"]["device"]) == ("fake-works", "CPU")
    assert (result["site"], result["device_id"], result["deployment"]) == ("lab", "cart", "guard")
    assert {"queue", "decode", "run", "total"} <= set(result["timings_ms"])
    until(lambda: not list(cart.spool.instances.iterdir()))
    [run] = until(lambda: [item for item in cart.spool.histograms() if item.stage == "run"])
    assert sum(run.counts) == 1
    assert len(run.counts) == len(BUCKETS_MS) + 1
    assert PATIENT_NAME not in cart.log.read_text()
    assert cart.stop() == 0


def test_results_come_in_the_order_of_arrival(cart: Any, until: Any) -> None:
    cart.configure()
    sent = [cart.admit().instance.sop_instance_uid for _ in range(20)]  # before anything runs
    cart.start()
    until(lambda: len(cart.results()) == 20)
    assert [result["instance"]["sop_instance_uid"] for result in cart.results()] == sent


def test_with_a_key_no_uid_leaves_the_device(cart: Any, until: Any) -> None:
    (cart.folder / "key").write_text("0123456789abcdef" * 4)
    cart.configure(more='\n[privacy]\nuids = "hmac"\nhmac_key_file = "key"\n')
    phantom = cart.admit()
    broken = cart.admit(pixels=np.zeros((16, 16), np.uint8), attributes={"PixelData": b"\0"})
    cart.start()
    until(lambda: len(cart.results()) == 2)
    text = (cart.folder / "results.jsonl").read_text()
    for each in (phantom, broken):
        instance = each.instance
        for uid in (instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid):
            assert uid not in text
    assert all(result["instance"]["hashed"] for result in cart.results())
    assert len({result["result_id"] for result in cart.results()}) == 2


def test_an_image_that_does_not_decode_fails_and_blames_nobody(cart: Any) -> None:
    cart.configure()
    cart.start()
    cart.ready()
    broken = cart.admit(attributes={"PixelData": b"\0\0"})
    good = cart.admit()
    result = cart.result_of(broken)
    assert result["outcome"] == "failed"
    assert result["reason"]["code"].startswith("pixels.")
    assert result["instance"]["sop_instance_uid"] == broken.instance.sop_instance_uid
    assert cart.result_of(good)["outcome"] == "completed"
    assert cart.events("plugin.fault") == []


def test_a_file_that_vanished_fails_aloud(cart: Any, until: Any) -> None:
    cart.configure()
    cart.start()
    cart.ready()
    phantom = cart.admit(deployments=("guard",))
    first = cart.result_of(phantom)
    assert first["outcome"] == "completed"
    cart.stop()
    lost = cart.admit()
    for path in cart.spool.instances.iterdir():
        path.unlink()
    cart.start()
    assert_failed(cart.result_of(lost), "spool.file-missing")
    until(lambda: cart.events("spool.file-missing"))


def test_a_bundle_that_is_no_bundle_holds_its_jobs_and_says_so(cart: Any, until: Any) -> None:
    cart.configure()
    whole = (cart.folder / "guard.edgeai").read_bytes()
    (cart.folder / "guard.edgeai").write_bytes(b"no bundle")
    cart.start()
    jobs = [cart.admit() for _ in range(3)]
    assert len(until(lambda: cart.events("deployment.held"))) == 1
    [held] = until(lambda: [item for item in cart.spool.holds() if item.jobs == 3])
    assert held.code.startswith("bundle.")
    until(lambda: cart.spool.notes()["infer:guard"].state == "unavailable")
    until(lambda: cart.spool.notes()["infer:guard"].detail["code"] == held.code)
    remedy = cart.events("deployment.held")[0]["facts"]["remedy"]
    assert remedy == held.remedy
    assert "`bundle`" in remedy
    assert cart.results() == []
    assert len(list(cart.spool.instances.iterdir())) == 3
    (cart.folder / "guard.edgeai").write_bytes(whole)
    assert [cart.result_of(job)["outcome"] for job in jobs] == ["completed"] * 3
    assert {result["attempt"] for result in cart.results()} == {1}
    assert len(until(lambda: cart.events("deployment.released"))) == 1
    until(lambda: cart.spool.holds() == [])


UNAVAILABLE = [
    ({"backends": ("fake-absent",)}, "backend."),
    ({"backends": ("fake-nobody",)}, "backend."),
    ({"backends": ("fake-works",), "allow": []}, "plugin.not-allowed"),
    pytest.param({"backends": ("tflite",)}, "plugin.not-allowed", marks=pytest.mark.torture),
    pytest.param({"backends": ("tflite", "fake-nobody")}, "plugin.not-allowed", marks=pytest.mark.torture),
    pytest.param({"backends": ("tflite", "fake-absent")}, "plugin.not-allowed", marks=pytest.mark.torture),
]


@pytest.mark.parametrize(("setup", "code"), UNAVAILABLE)
def test_what_the_device_can_cure_is_no_verdict_on_the_image(
    cart: Any, setup: dict[str, Any], code: str, until: Any
) -> None:
    good = {name: getattr(cart, name) for name in setup}
    for name, value in setup.items():
        setattr(cart, name, value)
    cart.configure()
    cart.start()
    job = cart.admit()
    [held] = until(lambda: [item for item in cart.spool.holds() if item.jobs == 1])
    assert held.code.startswith(code)
    assert cart.results() == []
    cart.stop()
    for name, value in good.items():
        setattr(cart, name, value)
    cart.configure()
    cart.start()
    assert cart.result_of(job)["outcome"] == "completed"
    until(lambda: cart.spool.holds() == [])


@pytest.mark.parametrize(("setup", "code"), UNAVAILABLE[1:])
def test_a_deployment_may_prefer_to_fail_at_once(cart: Any, setup: dict[str, Any], code: str, until: Any) -> None:
    for name, value in setup.items():
        setattr(cart, name, value)
    cart.configure(deployment='when_unavailable = "fail"')
    cart.start()
    result = cart.result_of(cart.admit())
    assert result["outcome"] == "failed"
    assert result["reason"]["code"].startswith(code)
    assert result["reason"]["remedy"]
    assert result["model"]["name"] == "guard-model"
    until(lambda: cart.events("deployment.unavailable"))
    assert cart.spool.holds() == []


def test_a_backend_that_is_here_and_not_allowed_is_called_so(cart: Any, until: Any) -> None:
    cart.add_backend("barred")
    cart.allow.remove("barred")
    cart.backends = ("barred",)
    cart.configure()
    cart.start()
    job = cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "plugin.not-allowed"
    assert event["message"].startswith("guard cannot run")
    assert "installed here and not allowed: barred" in event["message"]
    assert "not installed" not in event["message"]
    assert event["facts"]["remedy"].startswith("add barred to plugins.allow")
    cart.stop()
    cart.backends = ("barred", "fake-works")
    cart.configure()
    cart.start()
    result = cart.result_of(job)
    assert (result["outcome"], result["engine"]["backend"]) == ("completed", "fake-works")
    [because] = result["degraded"]["because"]
    assert "plugins.allow does not name it" in because
    cart.stop()
    cart.allow.append("barred")
    cart.configure()
    cart.start()
    assert cart.result_of(cart.admit())["engine"]["backend"] == "barred"


def test_a_backend_of_another_name_than_its_plugin_is_found_by_the_remedy(cart: Any, until: Any) -> None:
    cart.add_backend("barred")
    cart.allow.remove("barred")
    cart.backends = ("fake-nobody",)
    cart.configure()
    cart.start()
    cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "backend.no-candidate"
    assert "install" in event["facts"]["remedy"]
    assert "add its plugin to plugins.allow" in event["facts"]["remedy"]
    assert "barred" in event["facts"]["remedy"]


@pytest.mark.parametrize("how", ["wrong-shape", "nan", "raise", "wrong-names"])
def test_a_backend_that_lies_fails_its_jobs_then_the_next_takes_over(cart: Any, how: str, until: Any) -> None:
    cart.add_backend("liar", how)
    cart.backends = ("liar", "fake-works")
    cart.configure()
    cart.start()
    cart.ready()
    for _ in range(3):
        result = cart.result_of(cart.admit(BRIGHT))
        assert result["outcome"] == "failed"
        assert result["findings"] == []
        assert result["engine"]["backend"] == "liar"
        assert result["reason"]["code"].partition(".")[0] in ("backend", "tensor", "plugin")
    after = cart.result_of(cart.admit(BRIGHT))
    assert (after["outcome"], after["engine"]["backend"]) == ("completed", "fake-works")
    assert after["degraded"]["wished"] == "liar"
    assert len(until(lambda: cart.events("plugin.quarantined"))) == 1
    assert until(lambda: cart.events("deployment.degraded"))
    assert cart.spool.notes()["supervise"].detail["roles"]["infer:guard"]["restarts"] == 0


def test_failures_that_are_not_in_a_row_quarantine_nobody(cart: Any) -> None:
    cart.configure(Misbehaviour(how="wrong-shape", mean_above=0.9))
    cart.start()
    cart.ready()
    for _ in range(4):
        assert_failed(cart.result_of(cart.admit(BRIGHT)), "tensor.mismatch")
        assert cart.result_of(cart.admit(DULL))["outcome"] == "completed"
    assert cart.spool.quarantined() == []


def test_a_pardon_brings_the_first_wish_back(cart: Any, until: Any) -> None:
    cart.configure()
    for _ in range(3):
        cart.spool.fault(
            plugin="fakes", version="1.0", deployment="guard", step="run", cause="test", quarantine_after=3
        )
    cart.start()
    early = cart.admit()
    [held] = until(lambda: [item for item in cart.spool.holds() if item.jobs == 1])
    assert "quarantine" in held.reason
    cart.spool.pardon("fakes")
    assert cart.result_of(early)["outcome"] == "completed"
    assert cart.result_of(cart.admit())["outcome"] == "completed"


def test_another_version_of_the_plugin_is_not_held_to_blame(cart: Any) -> None:
    cart.configure()
    cart.spool.fault(plugin="fakes", version="0.9", deployment="guard", step="run", cause="test", quarantine_after=1)
    cart.start()
    assert cart.result_of(cart.admit())["outcome"] == "completed"


def test_an_unknown_deployment_is_refused(cart: Any) -> None:
    cart.configure()
    assert cart.start("infer", "--deployment", "other").wait(600) == 78
    assert cart.logged("role.failed")[0]["code"] == "config.no-deployment"


def test_the_threads_that_measured_best_run_and_are_said_and_a_number_in_the_profile_comes_first(
    cart: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cores() < 2:
        pytest.skip("on one core nothing is measured")
    cart.configure()
    _measure(cart, monkeypatch)
    cart.start()
    until(lambda: cart.spool.notes()["infer:guard"].detail["threads"] == cores())
    command = [sys.executable, "-m", "edgeai", "status", str(cart.profile)]
    printed = subprocess.run([*command, "--json"], env=cart.environment, capture_output=True, text=True, timeout=600)
    assert json.loads(printed.stdout)["deployments"][0]["threads"] == cores()
    wide = {**cart.environment, "COLUMNS": "300"}
    printed = subprocess.run(command, env=wide, capture_output=True, text=True, timeout=600)
    assert f"CPU, {cores()} threads" in printed.stdout
    assert cart.stop() == 0
    cart.configure(deployment="threads = 1")
    cart.start()
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    assert cart.spool.notes()["infer:guard"].detail["threads"] is None


def _measure(cart: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process did on an image, for which more threads were faster than the engine's own number."""
    own: list[Any] = []

    def clocked(session: Any, inputs: Any) -> tuple[Any, Turn]:
        own.append(session)
        return session.run(inputs), Turn(took_s=0.08 if session is own[0] else 0.02)

    monkeypatch.setattr("edgeai.model.threads.clocked", clocked)
    fakes = PluginInfo(name="fakes", module="edgeai.testing.fakes_plugin", distribution="edgeai", version="0")
    registry = Registry.of_plugins([load_from(fakes)])
    image = write_instance(cart.folder / "first.dcm", np.full((16, 16), DULL, np.uint8)).path
    table = cart.folder / "data" / "trials" / "guard.json"
    with open_model(
        cart.folder / "guard.edgeai",
        backends=("fake-works",),
        registry=registry,
        trials=table,
        cache_dir=cart.folder / "cache",
    ) as model:
        assert model.run_file(image).outcome == "completed"
        assert model.threads is not None
        assert model.threads.count == cores()
