"""``edgeai doctor`` opens what ``run`` opens, outlives what it opens, and blames by name; a good cart passes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeai.mqtt import Broker, connect
from edgeai.spool import Spool
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.certificates import Authority, Identity

pytestmark = pytest.mark.system

LIMIT_S = "240"


def doctor(cart: Any, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and its lines by what was looked at."""
    cart.write()
    done = cart.command("doctor", str(cart.path), "--json", *more, timeout_s=600)
    assert done.stdout.startswith("["), (done.stdout, done.stderr)
    return done.returncode, {line["what"]: line for line in json.loads(done.stdout)}


def failed(lines: dict[str, dict[str, str]]) -> set[str]:
    """What failed; each line that is not ok says what to do."""
    assert all(line["found"] and (line["verdict"] == "ok" or line["remedy"]) for line in lines.values()), lines
    return {what for what, line in lines.items() if line["verdict"] == "fail"}


DIES: dict[str, tuple[str, ...]] = {
    "import os; os._exit(7)": ("status 7", "while it was loaded"),
    "import os; print('no licence', flush=True); os._exit(0)": ("status 0", "last words: no licence"),
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": ("died of SIGSEGV", "while it was loaded"),
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": ("died of SIGKILL", "while it was loaded"),
}
HANGS = {"import time; time.sleep(3600)": ("not come to an end in time", "while it was loaded")}
RAISES: dict[str, tuple[str, ...]] = {
    "raise OSError('libvendor.so.1 is not there')": ("OSError", "libvendor.so.1 is not there"),
    "raise SystemExit(9)": ("SystemExit", "9"),
}


@pytest.mark.parametrize("preludes", [DIES, HANGS, RAISES], ids=["die", "hang", "raise"])
def test_plugins_that_take_their_process_along_are_blamed_and_the_rest_is_looked_at(
    cart: Any, preludes: dict[str, tuple[str, ...]]
) -> None:
    cart.deploy()
    cart.listen()
    vendors = {f"vendor-{number}": prelude for number, prelude in enumerate(preludes)}
    for name, prelude in vendors.items():
        cart.add_backend(name, prelude=prelude)
    cart.add_backend("other")
    status, lines = doctor(cart, "--limit-s", "12" if preludes is HANGS else LIMIT_S)
    assert status == 1
    for name, prelude in vendors.items():
        line = lines[f"plugin {name}"]
        assert all(word in line["found"] for word in preludes[prelude]), line
        assert "plugins.allow" in line["remedy"]
    blamed = {f"plugin {name}" for name in vendors}
    assert lines["backend other"]["verdict"] == lines["backend fake-works"]["verdict"] == "ok"
    assert lines["broker"]["verdict"] == "ok"
    if preludes is RAISES:  # the others serve on, as in `run`
        assert failed(lines) == blamed
        assert lines["deployment guard"]["verdict"] == "ok"
    else:
        assert failed(lines) == {*blamed, "deployment guard"}
        assert "vendor-0" in lines["deployment guard"]["found"]
    assert not cart.data_dir.exists(), "looking leaves nothing behind"


UNABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("abort", "open"): ("abort-open", "SIGABRT", "while it was opened"),
    ("abort", "run"): ("abort-run", "SIGABRT"),
    ("hang", "open"): ("hang-open", "not come to an end"),
    ("raise", "open"): ("raise-open",),
    ("nan", "run"): ("finite",),
    ("wrong-shape", "run"): ("do not match",),
    ("elsewhere", "open"): ("elsewhere-open", "device"),
}
"""What an engine does and where, and what is found."""


def test_engines_that_cannot_serve_their_deployments_are_found_each(cart: Any) -> None:
    for how, at in UNABLE:
        cart.add_backend(f"{how}-{at}", how, at=at)
        cart.deploy(f"of-{how}-{at}", backends=(f"{how}-{at}",), open_deadline_s=4 if how == "hang" else 60)
    cart.deploy()
    cart.listen()
    status, lines = doctor(cart)
    assert (status, failed(lines)) == (1, {f"deployment of-{how}-{at}" for how, at in UNABLE}), lines
    for (how, at), words in UNABLE.items():
        finding = lines[f"deployment of-{how}-{at}"]["found"]
        assert all(word in finding for word in words), finding


def test_a_misspelt_backend_a_missing_device_and_a_setting_that_is_none_are_said(cart: Any) -> None:
    cart.deploy("a", backends=("fake-wroks",))
    cart.deploy("b", backends=("fake-wroks", "fake-works"))
    cart.deploy("c", device="NPU.7")
    cart.deploy("d", settings={"fake-works": {"spede": 1}})
    cart.listen()
    status, lines = doctor(cart)
    assert (status, failed(lines)) == (1, {"deployment a", "deployment c", "deployment d"}), lines
    assert 'did you mean "fake-works"?' in lines["deployment a"]["found"]
    assert lines["deployment b"]["verdict"] == "warn"
    assert "degraded" in lines["deployment b"]["found"]
    assert "NPU.7" in lines["deployment c"]["found"]
    assert "spede" in lines["deployment d"]["found"]


def test_a_missing_bundle_is_said_first_and_not_as_a_damaged_one_is(cart: Any) -> None:
    cart.deploy("here")
    cart.deploy("damaged")
    cart.deploy("missing")
    path = Path(cart.profile["deployments"][1]["bundle"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    cart.profile["deployments"][2]["bundle"] = str(cart.folder / "heer.edgeai")
    cart.listen()
    status, lines = doctor(cart)
    assert status == 1
    assert {"bundle of missing"} < failed(lines)
    assert failed(lines) <= {"bundle of missing", "bundle of damaged", "deployment damaged"}
    assert "is missing" in lines["bundle of missing"]["found"]
    assert 'did you mean "here.edgeai"?' in lines["bundle of missing"]["found"]
    assert list(lines)[1:4] == ["bundle of here", "bundle of damaged", "bundle of missing"]
    assert lines["deployment here"]["verdict"] == "ok"


def test_every_sink_is_opened_with_its_settings(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    good = str(cart.folder / "out")
    cart.profile["sinks"] = {
        "archive": {"kind": "fake-file", "settings": {"path": good}},
        "second": {"kind": "jsonl", "settings": {"path": good}},
        "unknown": {"kind": "fake-flie", "settings": {"path": good}},
        "misspelt": {"kind": "fake-file", "settings": {"paht": good}},
        "wrong": {"kind": "fake-file", "settings": {"path": 7}},
    }
    status, lines = doctor(cart)
    assert (status, failed(lines)) == (1, {"sink unknown", "sink misspelt", "sink wrong"})
    assert 'did you mean "fake-file"?' in lines["sink unknown"]["found"]
    assert "paht" in lines["sink misspelt"]["found"]
    assert "path" in lines["sink wrong"]["found"]
    done = cart.command("config", "check", str(cart.path), timeout_s=600)
    assert done.returncode == 2
    assert 'sinks.unknown.kind: no plugin of plugins.allow provides a sink "fake-flie"; did you mean' in done.stderr
    assert 'sinks.misspelt.settings.paht: unknown setting; did you mean "path"?' in done.stderr
    assert "sinks.archive" not in done.stderr
    assert "sinks.second" not in done.stderr


def test_the_spool_is_looked_at_and_not_changed(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    assert doctor(cart)[1]["spool"]["verdict"] == "ok"
    spool = Spool(cart.data_dir / "spool")
    database = spool.db.path
    spool.close()
    assert "of this version" in doctor(cart)[1]["spool"]["found"]
    with closing(sqlite3.connect(database)) as db:
        db.execute("DROP TABLE counters")
    status, lines = doctor(cart)
    assert (status, failed(lines)) == (1, {"spool"})
    assert "counters" in lines["spool"]["found"]
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA user_version = 3000")
    assert "edgeai version" in doctor(cart)[1]["spool"]["remedy"]
    database.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert failed(doctor(cart)[1]) == {"spool"}


def test_a_spool_of_an_older_version_is_not_brought_forward_by_looking(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    spool = Spool(cart.data_dir / "spool")
    database = spool.db.path
    spool.db.take_back()
    spool.close()
    before = database.read_bytes()
    status, lines = doctor(cart)
    assert (status, lines["spool"]["verdict"]) == (0, "ok"), lines
    assert "brings it forward" in lines["spool"]["found"]
    assert database.read_bytes() == before


def test_ports_that_are_taken_or_not_this_machines_are_said(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.profile["health"]["host"] = "192.0.2.1"
    with socket.create_server(("127.0.0.1", cart.dicom_port)):
        status, lines = doctor(cart)
    assert (status, failed(lines)) == (1, {"DICOM port", "health port"})
    assert "ss -ltnp" in lines["DICOM port"]["remedy"]
    assert "no such address" in lines["health port"]["found"]


# --- certificates and the broker --------------------------------------------------------------------


def _secure(cart: Any, authority: Authority, identity: Identity) -> Mosquitto:
    """A broker that knows clients by their certificates' common names, and lets each write under its own alone."""
    folder = cart.folder / "tls-broker"
    folder.mkdir()
    (folder / "acl").write_text("pattern write edgeai/1/%u/#\n")
    server, port = authority.issue("localhost"), free_port()
    extra = (
        f"listener {port} 127.0.0.1\ncafile {authority.ca}\ncertfile {server.certificate}\nkeyfile {server.key}\n"
        f"require_certificate true\nuse_identity_as_username true\nacl_file {folder / 'acl'}\n"
    )
    tls = {"ca": str(authority.ca), "certificate": str(identity.certificate), "key": str(identity.key)}
    cart.profile["mqtt"] = {"port": port, "tls": tls}
    broker = Mosquitto(folder, port=port, extra=extra)
    broker.start()
    return broker


@pytest.fixture
def lax(tmp_path: Path) -> Authority:
    """An authority as many recipes make it."""
    (tmp_path / "lax").mkdir()
    return Authority(tmp_path / "lax", strict=False)


@pytest.fixture
def strict(tmp_path: Path) -> Authority:
    """An authority as RFC 5280 wants it."""
    (tmp_path / "strict").mkdir()
    return Authority(tmp_path / "strict")


def test_a_cart_whose_certificate_and_topic_agree_passes(cart: Any, strict: Authority) -> None:
    cart.deploy()
    broker = _secure(cart, strict, strict.issue("lab/cart", valid_days=90))
    try:
        status, lines = doctor(cart)
    finally:
        broker.stop()
    assert (status, failed(lines)) == (0, set()), lines
    assert "may be published" in lines["broker's access list"]["found"]
    assert lines["mqtt.tls.key"]["verdict"] == "ok"
    assert "broker's certificate" not in lines
    assert "lab/cart" in lines["mqtt.tls.certificate"]["found"]


def test_a_certificate_of_another_name_is_found_by_a_real_publish(cart: Any, strict: Authority) -> None:
    cart.deploy()
    broker = _secure(cart, strict, strict.issue("lab/trolley", valid_days=90))
    try:
        status, lines = doctor(cart)
    finally:
        broker.stop()
    assert (status, failed(lines)) == (1, {"broker's access list"}), lines
    assert '"lab/trolley"' in lines["broker's access list"]["remedy"]
    assert '"lab/cart"' in lines["broker's access list"]["remedy"]


def test_an_authority_that_python_3_13_refuses_is_said_before(cart: Any, lax: Authority) -> None:
    cart.deploy()
    broker = _secure(cart, lax, lax.issue("lab/cart", valid_days=90))
    try:
        lines = doctor(cart)[1]
    finally:
        broker.stop()
    assert lines["mqtt.tls.ca"]["verdict"] != "ok"
    assert "keyUsage" in lines["mqtt.tls.ca"]["found"]
    assert "3.13" in lines["mqtt.tls.ca"]["remedy"]
    if lines["broker"]["verdict"] == "ok":
        assert "3.13" in lines["broker's certificate"]["found"]


def test_a_key_of_another_certificate_is_found_and_so_is_one_that_ended(cart: Any, strict: Authority) -> None:
    cart.deploy()
    mine, other = strict.issue("lab/cart", valid_days=90), strict.issue("other")
    shutil.copy(other.key, mine.key)
    ended = strict.issue("ended", valid_days=-1)
    cart.profile["mqtt"] = {"enabled": False}
    tls = {"ca": str(strict.ca), "certificate": str(mine.certificate), "key": str(mine.key)}
    cart.profile["ingest"]["scp"]["tls"] = tls
    assert "does not match" in doctor(cart)[1]["ingest.scp.tls.key"]["found"]
    cart.profile["ingest"]["scp"]["tls"] = {**tls, "certificate": str(ended.certificate), "key": str(ended.key)}
    status, lines = doctor(cart)
    assert (status, failed(lines)) == (1, {"ingest.scp.tls.certificate"})


def test_beside_a_running_cart_the_status_is_said_again_as_it_is_and_nobody_is_thrown_off(
    cart: Any, until: Any
) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    until(lambda: heard.on("status") and heard.on("status")[-1]["state"] == "online")
    processes, before = cart.processes(), len(heard.received)
    status, lines = doctor(cart)
    assert status == 0, lines
    until(lambda: len(heard.received) > before)
    messages = heard.received[before:]
    assert {item.topic for item in messages} == {"edgeai/1/lab/cart/status"}
    assert all(item.body["state"] == "online" for item in messages)
    assert cart.processes() == processes
    assert not any("taken-over" in line for line in cart.log.read_text().splitlines())
    assert [body["state"] for body in _retained(cart)] == ["online"]


def _retained(cart: Any) -> list[dict[str, Any]]:
    """What one who comes now is told of the status at once: it is sent before a later subscription is answered."""
    told: list[dict[str, Any]] = []
    link = connect(Broker(host="127.0.0.1", port=cart.broker.port, client_id="late"))
    try:
        link.subscribe("edgeai/1/lab/cart/status", lambda _, body: told.append(json.loads(body)))
        link.subscribe("nothing", lambda _, body: None)
    finally:
        link.close()
    return told


def test_a_stopped_cart_is_said_to_be_offline_and_what_is_retained_stays(cart: Any, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    status, lines = doctor(cart)
    assert status == 0, lines
    until(lambda: heard.on("status"))
    assert [body["state"] for body in heard.on("status")] == ["offline"]
    assert _retained(cart) == []


def test_at_80_columns_no_remedy_is_cut(cart: Any) -> None:
    cart.deploy()
    cart.profile["deployments"][0]["bundle"] = str(cart.folder / ("long-" * 30 + "name.edgeai"))
    cart.profile["plugins"]["allow"].append("nobody")
    status, lines = doctor(cart)
    assert status == 1
    done = subprocess.run(
        [sys.executable, "-m", "edgeai", "doctor", str(cart.path)],
        env={**cart.environment, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    told = re.sub(r"\s+", " ", done.stdout)
    for line in lines.values():
        assert line["verdict"] == "ok" or re.sub(r"\s+", " ", line["remedy"]).strip() in told, line
    long = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert all(" " not in line.strip().removeprefix("FAIL ").strip() for line in long), "only what has no gap is longer"
    assert os.path.basename(cart.profile["deployments"][0]["bundle"]) in done.stdout
