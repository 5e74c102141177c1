"""Every acknowledged image comes to a true end: resends, other content, what the device lacked and was given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from jsonschema import Draft202012Validator

import edgeai
from edgeai.bundle.keys import make_keys
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.testing.phantoms import Phantom

SCHEMAS = Path(edgeai.__file__).parent / "schemas"
pytestmark = pytest.mark.system


def results_of(cart: Any, phantom: Phantom, deployment: str = "guard") -> list[dict[str, Any]]:
    uid = phantom.instance.sop_instance_uid
    return [item for item in cart.subscriber.attempts(deployment) if item["instance"]["sop_instance_uid"] == uid]


def several(cart: Any, until: Callable[..., Any], phantom: Phantom, count: int) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = until(lambda: len(each := results_of(cart, phantom)) >= count and each)
    assert len(results) == count
    return results


def test_a_cut_file_fails_and_the_whole_one_sent_afterwards_is_analysed(cart: Any, until: Any) -> None:
    cart.deploy()
    inbox = cart.folder / "inbox"
    inbox.mkdir()
    cart.profile["ingest"]["folders"] = [{"path": str(inbox), "settle_s": 0.2}]
    cart.listen()
    cart.start()
    whole = cart.phantom()
    body = whole.path.read_bytes()
    (inbox / "cut.part").write_bytes(body[:-100])  # the export broke off in the middle of its pixels
    (inbox / "cut.part").rename(inbox / "cut.dcm")
    [first] = several(cart, until, whole, 1)
    assert (first["outcome"], first["attempt"]) == ("failed", 1)
    assert list(cart.store(whole).values()) == ["Success"]
    first, second = several(cart, until, whole, 2)
    assert second["outcome"] == "completed"
    assert second["result_id"] != first["result_id"]
    assert second["instance"]["content"] != first["instance"]["content"]
    assert until(lambda: cart.subscriber.events("instance.differs"))
    shutil.copy(whole.path, inbox / "again.dcm")  # from the folder it is the same content as by C-STORE
    until(lambda: not (inbox / "again.dcm").exists())
    assert cart.result_of(cart.send()[0])["outcome"] == "completed"  # which came after it, and results keep their order
    assert len(results_of(cart, whole)) == 2


def test_whoever_sends_garbage_first_under_a_uid_does_not_blind_the_cart_to_it(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    real = cart.phantom()
    garbage = pydicom.dcmread(real.path)
    garbage.PixelData = bytes(7 for _ in garbage.PixelData)
    garbage.save_as(cart.folder / "garbage.dcm")
    cart.store(replace(real, path=cart.folder / "garbage.dcm"))
    cart.store(real)
    both = several(cart, until, real, 2)
    assert [item["outcome"] for item in both] == ["completed", "completed"]
    assert len({item["result_id"] for item in both}) == 2
    assert [item["attempt"] for item in both] == [1, 1]


def test_an_untrusted_bundle_holds_what_arrives_and_gives_it_when_it_is_signed(cart: Any, until: Any) -> None:
    pair = make_keys("release", cart.folder / "made")
    (cart.folder / "trust").mkdir()
    shutil.copy(pair.public.path, cart.folder / "trust")
    cart.profile["trust"] = {"keys": str(cart.folder / "trust")}
    cart.deploy()
    cart.deploy("other", when_unavailable="fail")
    subscriber = cart.listen()
    cart.start(ready=False)
    until(lambda: cart.health()[0] == 503)
    sent = [cart.phantom() for _ in range(3)]
    until(lambda: set(cart.store(*sent).values()) == {"Success"})
    until(lambda: len(subscriber.attempts("other")) == 3)  # of the deployment that prefers to fail at once
    assert {item["outcome"] for item in subscriber.attempts("other")} == {"failed"}
    assert subscriber.attempts("guard") == []
    [held] = until(lambda: subscriber.events("deployment.held"))
    assert held["facts"]["code"] == "bundle.unsigned"
    status = json.loads(cart.command("status", str(cart.path), "--json").stdout)
    assert not status["serving"]
    sign_bundle(cart.folder / "guard.edgeai", signer_of(str(pair.private), str))
    sign_bundle(cart.folder / "other.edgeai", signer_of(str(pair.private), str))
    until(lambda: len(subscriber.attempts("guard")) == 3)
    assert {(item["outcome"], item["attempt"]) for item in subscriber.attempts("guard")} == {("completed", 1)}
    assert until(lambda: subscriber.events("deployment.released"))
    until(lambda: cart.health()[0] == 200)  # the other has seen its signature too
    # and of the other, what failed is done again on request
    dry = cart.command("rerun", str(cart.path), "--code", "bundle.unsigned", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 can be done again" in dry.stdout
    assert len(subscriber.attempts("other")) == 3
    done = cart.command("rerun", str(cart.path), "--code", "bundle.unsigned", "--deployment", "other")
    assert done.returncode == 0, done.stderr
    assert "3 ended well, 0 failed again" in done.stdout
    until(lambda: len(subscriber.attempts("other")) == 6)
    again = [item for item in subscriber.attempts("other") if item["outcome"] == "completed"]
    assert [item["attempt"] for item in again] == [2, 2, 2]
    assert {item["result_id"] for item in again}.isdisjoint(subscriber.results("guard"))


def test_rerun_refuses_what_makes_no_sense(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.write()
    nothing = cart.command("rerun", str(cart.path))
    assert nothing.returncode == 1
    assert "error[spool.absent]" in nothing.stderr
    cart.start()
    for words, code in (
        (("--deployment", "gard"), "config.no-deployment"),
        (("--since", "yesterday"), "config.usage"),
    ):
        refused = cart.command("rerun", str(cart.path), *words)
        assert refused.returncode == 2
        assert f"error[{code}]" in refused.stderr
    empty = cart.command("rerun", str(cart.path), "--since", "2h")
    assert (empty.returncode, empty.stdout) == (0, "no failed job matches\n")


def test_rerun_takes_the_identifier_that_left_the_device(cart: Any, until: Any) -> None:
    (cart.folder / "key").write_text("k" * 40)
    cart.profile["privacy"] = {"uids": "hmac", "hmac_key_file": str(cart.folder / "key")}
    cart.deploy()
    cart.listen()
    cart.start()
    broken = [cart.send(attributes={"PixelData": b"\0\0"})[0] for _ in range(2)]
    until(lambda: len(cart.subscriber.results()) == 2)
    results = list(cart.subscriber.results().values())
    outside = results[0]["instance"]["sop_instance_uid"]
    assert outside not in {phantom.instance.sop_instance_uid for phantom in broken}
    for name, count in ((outside, 1), (outside.upper(), 1), (broken[0].instance.sop_instance_uid, 1), ("2.25.1", 0)):
        dry = cart.command("rerun", str(cart.path), "--instance", name, "--dry-run")
        assert (dry.returncode, f"{count} can be done again" in dry.stdout) == (0, count > 0), dry.stderr
    assert dry.stdout.startswith("no failed job matches; failed jobs here: 2 of guard with ")
    done = cart.command("rerun", str(cart.path), "--instance", outside)
    assert "0 ended well, 1 failed again" in done.stdout, done.stderr
    until(lambda: len(cart.subscriber.attempts("guard")) == 3)
    again = [item for item in cart.subscriber.attempts("guard") if item["attempt"] == 2]
    assert [item["result_id"] for item in again] == [results[0]["result_id"]]


def test_rerun_says_of_which_deployment_jobs_are_that_it_cannot_do(cart: Any, until: Any) -> None:
    cart.deploy()
    cart.deploy("gone")
    cart.listen()
    cart.start()
    cart.send(attributes={"PixelData": b"\0\0"})
    until(lambda: cart.subscriber.results("guard") and cart.subscriber.results("gone"))
    cart.stop()
    cart.profile["deployments"].pop()
    cart.write()
    printed = cart.command("rerun", str(cart.path), "--dry-run")
    assert printed.returncode == 0, printed.stderr
    [line] = [line for line in printed.stdout.splitlines() if line.startswith("gone ")]
    assert "1 failed: the profile no longer has it" in line
    assert "1 can be done again" in printed.stdout
    other = cart.command("rerun", str(cart.path), "--no-wait")
    assert "1 put back" in other.stdout
    only = cart.command("rerun", str(cart.path))
    assert only.stdout.splitlines()[-1] == "0 can be done again"
    assert "no failed job matches" not in only.stdout
    named = cart.command("rerun", str(cart.path), "--deployment", "gone")
    assert named.returncode == 2
    assert "error[config.no-deployment]" in named.stderr
    assert "1 failed job" in named.stderr


def test_the_spool_goes_back_to_the_older_version_only_when_the_cart_stands(cart: Any) -> None:
    cart.deploy()
    cart.listen()
    cart.start()
    refused = cart.command("spool", "downgrade", str(cart.path))
    assert refused.returncode == 1
    assert "error[spool.in-use]" in refused.stderr
    cart.stop()
    done = cart.command("spool", "downgrade", str(cart.path))
    assert done.returncode == 0, done.stderr
    cart.start()  # forward again, by itself
    [phantom] = cart.send()
    assert cart.result_of(phantom)["outcome"] == "completed"


def test_a_subscriber_of_schema_1_may_have_it_for_a_while(cart: Any, until: Any) -> None:
    cart.profile["results"] = {"schema": 1}
    cart.deploy()
    cart.listen()
    cart.start()
    [phantom] = cart.send()
    [result] = several(cart, until, phantom, 1)
    assert result["schema"] == 1
    assert "attempt" not in result
    Draft202012Validator(json.loads((SCHEMAS / "result-1.json").read_text())).validate(result)
    cart.subscriber.received.clear()  # the contract speaks of schema 2
