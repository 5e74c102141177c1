"""What runs where, of saved statuses; and the bill of materials of it, as the standard's own schema has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgeai.bundle.reader import read_manifest
from edgeai.cli.main import run
from edgeai.mqtt import Broker, Outgoing, connect
from edgeai.testing.broker import Mosquitto, find_mosquitto
from edgeai.testing.require import require

MODELS = Path(__file__).resolve().parents[3] / "models"
HEAD, VIEW = (next((MODELS / name).glob("*.edgeai")) for name in ("us-head", "xray-view"))
HEAD_NAME, VIEW_NAME = (" ".join(bundle.stem.rsplit("-", 1)) for bundle in (HEAD, VIEW))
GONE = f"sha256:{'7' * 64}"
Call = Callable[..., tuple[int, str, str]]


def deployment(bundle: Path | None, name: str = "d", **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"name": name, "state": "ready", "model": "gone 9.9.9", "digest": GONE, "signers": []}
    if bundle is not None:
        manifest, digest = read_manifest(bundle)
        body |= {"model": f"{manifest.name} {manifest.version}", "digest": digest}
    return {**body, "backend": "tflite", "device": "CPU", "artifact": "a", "signers": ["clinic 7be2"], **more}


def status(device: str, *deployments: dict[str, Any], at: str = "2026-11-30T10:00:00Z", **more: Any) -> dict[str, Any]:
    body = {"schema": 2, "site": "ward", "device_id": device, "state": "online", "edgeai_version": "0.1.0", "at": at}
    return {**body, "machine": "x86_64", "deployments": list(deployments), **more}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "statuses"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(status("a", deployment(HEAD), deployment(VIEW, "v", backend="openvino"))))
    slots = {"active": "b", "a": None, "b": {"release": 3}}
    lines = [status("b", deployment(HEAD, slots=slots)), status("c", deployment(None), at="2026-11-30T12:00:00Z")]
    lines += [status("c", deployment(HEAD), at="2026-11-30T11:00:00Z")]  # older, and said later
    lines += [{"schema": 2, "site": "ward", "device_id": "d", "state": "offline"}]
    (folder / "rest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (folder / "README").write_text("not a status")
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "200")

    def calling(*words: object) -> tuple[int, str, str]:
        ended = run(["fleet", *map(str, words)])
        printed = capsys.readouterr()
        return ended, printed.out, printed.err

    return calling


def test_models_are_counted_by_bundle_with_their_engines_and_signers(call: Call, saved: Path) -> None:
    body = json.loads(call("inventory", saved, "--json")[1])
    assert [cart["device_id"] for cart in body["carts"]] == ["a", "b", "c", "d"]
    head, *others = body["models"]
    assert (head["model"], head["carts"], head["engines"]) == (
        HEAD_NAME,
        ["ward/a", "ward/b"],
        {"tflite CPU a": 2},
    )
    assert head["signers"] == ["clinic 7be2"]
    assert {each["model"] for each in others} == {VIEW_NAME, "gone 9.9.9"}  # the youngest of c counts
    assert body["carts"][1]["running"][0]["release"] == 3
    ended, printed, _ = call("inventory", saved)
    assert (ended, HEAD_NAME in printed, "nothing open" in printed, "ward/d" in printed) == (0, True, True, True)
    ended, printed, _ = call("inventory", saved, "--devices")
    assert (ended, "ward/a" in printed, "openvino CPU a" in printed, "offline" in printed) == (0, True, True, True)


def test_80_columns_show_a_cart_whole(call: Call, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = call("inventory", saved, "--devices")[1]
    manifest, digest = read_manifest(HEAD)
    head = f"d: {manifest.name} {manifest.version} {digest[:19]}..."
    for words in ("online, edgeai 0.1.0", head, "tflite CPU a; signed by clinic 7be2", "ward/d"):
        assert words in printed


def test_the_fleets_bill_is_cyclonedx_of_what_the_bundles_carry(call: Call, saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "fleet.cdx.json"
    ended, printed, error = call("sbom", saved, "--look", MODELS, "--name", "clinic", "--out", out)
    assert (ended, printed) == (0, "")
    assert f"no bill of gone 9.9.9, {GONE}" in error
    text = out.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    body = json.loads(text)
    refs = [item["bom-ref"] for item in body["components"]]
    assert len(refs) == len(set(refs))
    by_ref = {item["bom-ref"]: item for item in body["components"]}
    edges = {edge["ref"]: edge.get("dependsOn", []) for edge in body["dependencies"]}
    assert len(edges) == len(body["dependencies"])
    assert {ref for on in edges.values() for ref in on} <= {*refs, "fleet"}
    assert edges["fleet"] == [f"device:ward/{each}" for each in "abcd"]
    digests = {path: read_manifest(path)[1] for path in (HEAD, VIEW)}
    assert set(edges["device:ward/a"]) == {*digests.values(), "pkg:pypi/edgeai@0.1.0"}
    assert edges["device:ward/d"] == []
    own = edges[digests[HEAD]]
    assert any(by_ref[ref]["type"] == "data" and by_ref[ref]["name"] == "hc18" for ref in own)
    assert [item["name"] for item in body["components"] if item.get("purl", "").startswith("pkg:pypi/keras@")] == [
        "keras"
    ]
    assert {"name": "edgeai:bill", "value": "not at hand"} in by_ref[GONE]["properties"]
    assert call("sbom", saved, "--look", MODELS, "--name", "clinic")[1] == text  # the same bytes


def test_a_bundle_that_was_changed_gives_no_bill(call: Call, saved: Path, tmp_path: Path) -> None:
    from edgeai.bundle.archive import Archive

    folder = tmp_path / "bundles/head"
    with Archive(HEAD) as archive:
        archive.unpack(folder)
    bill = folder / "sbom.cdx.json"
    bill.write_text(bill.read_text().replace("keras", "kerat"))
    ended, printed, error = call("sbom", saved, "--look", tmp_path / "bundles")
    assert (ended, printed, "bundle.wrong-hash" in error) == (1, "", True)


def test_retained_statuses_are_read_from_the_broker_beside_saved_ones(call: Call, saved: Path, tmp_path: Path) -> None:
    require("mosquitto", find_mosquitto() is not None, "retained statuses need a real broker")
    (tmp_path / "broker").mkdir()
    with Mosquitto(tmp_path / "broker") as broker:
        link = connect(Broker(host="127.0.0.1", port=broker.port, client_id="carts"))
        retained = {
            "ward/a": status("a", deployment(VIEW), at="2026-11-30T11:00:00Z"),  # younger than what was saved
            "ward/z": status("other", deployment(HEAD)),  # whatever it says, its name is the topic's
            "ward/y": {"schema": 9},
        }
        link.publish(
            Outgoing(topic=f"edgeai/1/{name}/status", body=json.dumps(body).encode(), retain=True)
            for name, body in retained.items()
        )
        link.close()
        where = ("--broker", f"127.0.0.1:{broker.port}")
        carts = json.loads(call("inventory", *where, "--json")[1])["carts"]
        assert [cart["device_id"] for cart in carts] == ["a", "z"]
        both = json.loads(call("inventory", saved, *where, "--json")[1])["carts"]
    assert [cart["device_id"] for cart in both] == ["a", "b", "c", "d", "z"]
    assert [each["model"] for each in both[0]["running"]] == [VIEW_NAME]
    ended, _, error = call("inventory")
    assert (ended, "fleet.no-status" in error) == (2, True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "no JSON", '{"schema":3,"state":"online"}', '{"schema":2}\n{"a":1}\n']
)
def test_what_is_no_status_is_refused(call: Call, tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    ended, _, error = call("inventory", tmp_path)
    assert (ended, "fleet.no-status" in error) == (2, True)


def test_what_a_cart_says_reaches_no_terminal_as_it_is(call: Call, tmp_path: Path) -> None:
    body = deployment(None, model="[red]\x1b]0;x\x07", signers=["\x1b[31mclinic", 7], slots={"active": []})
    (tmp_path / "s.json").write_text(json.dumps(status("\x1b[2Jx", body, state="\x1b[2Jonline")))
    for how in ((), ("--devices",), ("--json",)):
        ended, printed, _ = call("inventory", tmp_path, *how)
        assert (ended, "\x1b" in printed or "u001b" in printed, "[red]" in printed) == (0, False, True)
    (tmp_path / "s.json").write_text('{"\\u001b[31m": ')
    (tmp_path / "\x1b[31m.json").write_text("{")
    assert "\x1b" not in call("inventory", tmp_path / "\x1b[31m.json")[2]


def test_who_is_said_to_have_signed_stays_with_who_says_it(call: Call, saved: Path) -> None:
    forged = status("forger", deployment(HEAD, signers=["FDA 0000"]))
    (saved / "forged.json").write_text(json.dumps(forged))
    models = json.loads(call("inventory", saved, "--json")[1])["models"]
    rows = [(each["signers"], each["carts"]) for each in models if each["model"] == HEAD_NAME]
    assert rows == [(["clinic 7be2"], ["ward/a", "ward/b"]), (["FDA 0000"], ["ward/forger"])]
    body = json.loads(call("sbom", saved, "--look", MODELS)[1])
    (head,) = [each for each in body["components"] if each["bom-ref"] == read_manifest(HEAD)[1]]
    assert {"name": "edgeai:signers", "value": "clinic 7be2; FDA 0000"} in head["properties"]
