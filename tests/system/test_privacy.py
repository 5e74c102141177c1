"""With HMAC identifiers, nothing that leaves the cart and nothing that it logs tells whose image it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.dicom_peers import Wire
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.phantoms import PATIENT_ID, PATIENT_NAME, write_instance

pytestmark = pytest.mark.system


def secrets(phantoms: list[Any]) -> list[str]:
    identifiers = [PATIENT_NAME, PATIENT_NAME.partition("^")[2], PATIENT_ID, "19010203", "ACC-NEVER-SHOWN", "20240229"]
    for phantom in phantoms:
        instance = phantom.instance
        identifiers += [instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid]
    return identifiers


def test_no_uid_and_no_patient_attribute_is_anywhere(cart: Any, until: Any) -> None:
    (cart.folder / "key").write_text("0123456789abcdef" * 4)
    inbox = cart.folder / "inbox"
    inbox.mkdir()
    cart.deploy(misbehave=Misbehaviour(how="abort", mean_above=0.9))
    cart.profile["privacy"] = {"uids": "hmac", "hmac_key_file": str(cart.folder / "key")}
    cart.profile["log"] = {"level": "debug"}
    cart.profile["jsonl"] = {"path": str(cart.folder / "results.jsonl")}
    cart.profile["ingest"]["folders"] = [{"path": str(inbox), "settle_s": 0.1}]
    heard = cart.listen()
    cart.start()
    cart.send(count=3)
    cart.store(cart.sent[0])  # known already
    cart.send(cart.BRIGHT)  # kills its engine
    cart.send(attributes={"PixelData": b"\0\0"})  # does not decode
    cart.store(cart.phantom(modality="US", attributes={"Rows": 60000, "Columns": 60000}))
    cart.sent.append(by_folder(inbox, "taken"))
    broken = by_folder(inbox, "refused")
    broken.path.write_bytes(broken.path.read_bytes()[:300])
    cart.sent.append(broken)
    Wire(cart.dicom_port).close(reset=True)
    until(lambda: len(heard.results()) >= 6)
    until(lambda: heard.events("instance.refused"))
    until(lambda: not list(inbox.glob("*.dcm")))
    metrics, health = cart.get("/metrics")[1], cart.get("/health")[1]
    assert "edgeai_results_total" in metrics
    assert cart.stop() == 0
    places = {
        "messages": "\n".join(f"{item.topic} {item.payload.decode()}" for item in heard.received),
        "log": cart.log.read_text(errors="replace"),
        "metrics": metrics,
        "health": health,
        "jsonl": Path(cart.profile["jsonl"]["path"]).read_text(),
    }
    assert all(places.values())
    told = [(where, secret) for where, text in places.items() for secret in secrets(cart.sent) if secret in text]
    assert told == []
    instances = [result["instance"] for result in heard.results().values()]
    assert all(instance["hashed"] for instance in instances)
    assert len({instance["sop_instance_uid"] for instance in instances}) == len(instances)


def by_folder(inbox: Path, name: str) -> Any:
    """A file whose very name says who it is, as exports like to."""
    phantom = write_instance(inbox / f".{name}")
    uid = phantom.instance.sop_instance_uid
    return type(phantom)(
        path=phantom.path.rename(inbox / f"{PATIENT_NAME}-{PATIENT_ID}-{uid}.dcm"),
        instance=phantom.instance,
        pixels=phantom.pixels,
    )
