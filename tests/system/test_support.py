"""``edgeai support``: enough for whoever is asked for help, and nothing of any patient, image or password."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.phantoms import write_instance

pytestmark = pytest.mark.system

NAME, PATIENT, BORN, ACCESSION = "TESTFRAU^INVENTA MARIA", "PID-77-4711", "19310405", "ACC99182"
UIDS = ("1.2.826.0.1.3680043.77.1", "2.25.1234567890123456789", "1.3.6.1.4.1.77.4")
PASSWORD, USER, TOKEN, HMAC = "brok3r-passw0rd", "cart-user-55", "tok-abcdef-123", "0123456789abcdef" * 4
PERSON = {"PatientName": NAME, "PatientID": PATIENT, "PatientBirthDate": BORN, "AccessionNumber": ACCESSION}
SENDER = "TESTFRAUS_US"


def _secrets(cart: Any) -> set[str]:
    names = {NAME, "TESTFRAU", "INVENTA", "MARIA", PATIENT, BORN, ACCESSION, SENDER, PASSWORD, USER, TOKEN, HMAC, *UIDS}
    for result in cart.subscriber.results().values():
        names |= {result["result_id"], result["instance"]["content"].removeprefix("sha256:")}
    for phantom in cart.sent:
        ref = phantom.instance
        names |= {ref.sop_instance_uid, ref.series_instance_uid, ref.study_instance_uid}
    return names - {""}


def _parts(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def _busy_cart(cart: Any, until: Any) -> None:
    """A cart to which everything happened that gets identifiers into logs, states and file names."""
    inbox = cart.folder / "inbox"
    inbox.mkdir()
    for name, secret in (("password", PASSWORD), ("hmac", HMAC)):
        (cart.folder / name).write_text(secret + "\n")
    cart.deploy(misbehave=Misbehaviour(how="abort", mean_above=0.9))
    cart.profile["log"] = {"level": "debug"}
    cart.profile["ingest"]["folders"] = [{"path": str(inbox), "settle_s": 0.1}]
    cart.profile["mqtt"] |= {"username": USER, "password_file": str(cart.folder / "password")}
    cart.profile["privacy"] = {"hmac_key_file": str(cart.folder / "hmac")}
    cart.profile["sinks"] = {"hook": {"kind": "hook", "settings": {"token": TOKEN, "retries": 3, "deep": [[TOKEN]]}}}
    heard = cart.listen()
    cart.start()
    facts = {"attributes": PERSON, "study_instance_uid": UIDS[2]}
    options = ["-aet", SENDER]
    known = cart.phantom(sop_instance_uid=UIDS[0], **facts)
    assert cart.store(known, options=options)
    cart.store(known, options=options)
    cart.store(cart.phantom(cart.BRIGHT, sop_instance_uid=UIDS[1], **facts), options=options)  # kills its engine
    cart.store(cart.phantom(attributes={**PERSON, "PixelData": b"\0\0"}), options=options)
    broken = write_instance(inbox / ".part", attributes=PERSON)
    broken.path.write_bytes(broken.path.read_bytes()[:300])
    broken.path.rename(inbox / f"{NAME} {PATIENT} {UIDS[0]}.dcm")
    until(lambda: len(heard.results()) >= 3)
    until(lambda: heard.events("instance.refused"))
    until(lambda: not list(inbox.glob("*.dcm")))
    with cart.log.open("a") as log:  # what engines, libraries and other formatters write
        log.write(f"engine: cannot take {NAME} {UIDS[0]}\nW0000 {PATIENT}\n{json.dumps([NAME])}\n")
        log.write(json.dumps({"event": f"loaded {NAME}", "logger": "pydicom", "level": "warning"}) + "\n")
        for event, why in (
            ("sink.trouble", f"not {PASSWORD}: {UIDS[1]}, {UIDS[0]}"),
            ("file.refused", f"of {PATIENT}"),
        ):
            log.write(json.dumps({"event": event, "why": why, "code": NAME, "address": SENDER}) + "\n")
        log.write(json.dumps({"event": "sink.failed", "why": f"no: {NAME}"}) + "\n")
        trace = f'T\n  File "a.py", line 3, in f\nValueError: {NAME}'
        log.write(json.dumps({"event": "ingest.failed", "trace": trace}) + "\n")


def test_the_archive_tells_of_the_device_and_of_nobody_else(cart: Any, until: Any) -> None:
    _busy_cart(cart, until)
    secrets = _secrets(cart)
    assert len(secrets) > 15
    _tells(cart, secrets, running=True)
    cart.stop()
    _tells(cart, secrets, running=False)


def _tells(cart: Any, secrets: set[str], *, running: bool) -> None:
    out = cart.folder / f"{running}.zip"
    before = os.umask(0)
    try:
        done = cart.command("support", str(cart.path), "--out", str(out), "--log", str(cart.log))
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    parts = _parts(out)
    assert set(parts) == {
        *("README.txt", "versions.json", "plugins.json", "profile.json", "spool.json", "health.json"),
        *("metrics.txt", "doctor.json", "log.jsonl", "notes.txt"),
    }
    told = {**parts, "names": " ".join(parts), "printed": done.stdout + done.stderr}
    leaks = [(where, secret) for where, text in told.items() for secret in secrets if secret.lower() in text.lower()]
    assert leaks == []
    _tells_enough(cart, parts, running=running)


def _tells_enough(cart: Any, parts: dict[str, str], *, running: bool) -> None:
    """What a vendor asks for first."""
    health, spool, profile = (json.loads(parts[f"{name}.json"]) for name in ("health", "spool", "profile"))
    assert (health["state"] == "offline") == (not running)
    assert health["deployments"] == [] or "sha256:" in json.dumps(health["deployments"]) or not running
    assert spool["rows"]["instances"] >= 3
    assert spool["folders"]["spool"]["files"] > 0
    assert [fault["plugin"] for fault in spool["faults"]]
    assert profile["device"] == {"id": "cart", "site": "lab", "data_dir": str(cart.data_dir), "labels": {}}
    assert profile["mqtt"]["username"] == "<removed>"
    assert profile["sinks"]["hook"]["settings"] == {"token": "<removed>", "retries": 3, "deep": [["<removed>"]]}
    assert "numpy" in json.loads(parts["versions.json"])["distributions"]
    assert {row["name"] for row in json.loads(parts["plugins.json"])} >= {"mqtt", "fakes"}
    assert {row["what"] for row in json.loads(parts["doctor.json"])["findings"]} >= {"broker", "disk"}
    assert re.search(r'^edgeai_results_total\{.*code="pixels', parts["metrics.txt"], re.MULTILINE)
    lines = [json.loads(line) for line in parts["log.jsonl"].splitlines()]
    assert {"run.ready", "job.finished", "role.crash-report", "file.refused"} <= {line["event"] for line in lines}
    [trouble] = [line for line in lines if line["event"] == "sink.trouble" and "not <removed>" in line.get("why", "")]
    assert "code" not in trouble
    assert [line["trace"] for line in lines if "trace" in line][-1] == 'File "a.py", line 3, in f\nValueError'
    assert "lines that are not edgeai's own" in parts["notes.txt"]


def test_a_cart_that_never_ran_gives_what_there_is(cart: Any) -> None:
    cart.deploy()
    cart.write()
    out = cart.folder / "out.zip"
    done = cart.command("support", str(cart.path), "--out", str(out), "--no-doctor", "--log", "/nowhere/log")
    assert done.returncode == 0, done.stderr
    parts = _parts(out)
    assert {"versions.json", "profile.json"} <= set(parts)
    assert not {"health.json", "doctor.json", "log.jsonl"} & set(parts)
    for part in ("health.json", "log.jsonl", "spool.json"):
        assert part in parts["notes.txt"], part
        assert part in done.stdout


def test_a_spool_that_is_damaged_is_no_hindrance(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    cart.stop()
    (cart.data_dir / "spool" / "spool.sqlite").write_bytes(b"not a database" * 1000)
    shutil.rmtree(cart.data_dir / "bundles", ignore_errors=True)
    out = cart.folder / "out.zip"
    done = cart.command("support", str(cart.path), "--out", str(out), "--log", str(cart.log), "--no-doctor")
    assert done.returncode == 0, done.stderr
    assert "spool.json" in _parts(out)["notes.txt"]


def test_what_exists_is_not_overwritten_and_the_log_may_come_in_a_pipe(cart: Any) -> None:
    cart.deploy()
    cart.write()
    out = cart.folder / "out.zip"
    out.write_text("mine")
    done = cart.command("support", str(cart.path), "--out", str(out), "--no-doctor")
    assert (done.returncode, out.read_text()) == (1, "mine")
    assert "support.exists" in done.stderr
    done = cart.command("support", str(cart.path), "--out", str(cart.folder / "no" / "out.zip"), "--no-doctor")
    assert (done.returncode, "support.unwritable" in done.stderr) == (1, True)
    command = [sys.executable, "-m", "edgeai", "support", str(cart.path), "--log", "-", "--no-doctor"]
    line = '{"at": "2026-11-21T06:56:21.367+00:00", "level": "info", "role": "run", "event": "run.ready"}\n'
    subprocess.run(command, cwd=cart.folder, input=line, env=cart.environment, text=True, check=True, timeout=600)
    [made] = cart.folder.glob("edgeai-support-lab-cart-*.zip")
    assert json.loads(_parts(made)["log.jsonl"])["event"] == "run.ready"
