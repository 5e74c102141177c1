"""A running cart goes forward and not back: the floor rises with the first result, and what lies below it is held."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai import selftest
from edgeai.bundle.floors import FLOORS_NAME
from edgeai.config import load_config
from edgeai.roles.on_disk import eligibilities
from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.fakes import Misbehaviour

DULL, BRIGHT = 60, 250


def deploy(cart: Any, release: int, *, content: str = "", misbehave: Misbehaviour | None = None) -> str:
    """Put a bundle of this release where the profile looks; its digest."""
    folder = cart.folder / "content"
    folder.mkdir(exist_ok=True)
    (folder / "note.txt").write_text(content)
    return pack_fake_bundle(
        folder, cart.folder / "guard.edgeai", name="guard-model", release=release, misbehave=misbehave
    )


def floors(cart: Any) -> dict[str, Any]:
    path: Path = cart.folder / "data" / FLOORS_NAME
    return json.loads(path.read_text())["floors"] if path.exists() else {}  # type: ignore[no-any-return]


def run_one(cart: Any, until: Any) -> dict[str, Any]:
    """Start the cart, take one image to its end, and stop."""
    cart.start()
    cart.ready()
    result: dict[str, Any] = cart.result_of(cart.admit())
    until(lambda: cart.logged("job.finished"))
    assert cart.stop() == 0
    return result


def test_the_floor_rises_with_the_first_result_and_an_older_release_is_then_held(cart: Any, until: Any) -> None:
    cart.configure()
    second = deploy(cart, 2)
    cart.start()
    cart.ready()
    assert floors(cart) == {}, "an open model has not shown anything"
    cart.result_of(cart.admit())
    [event] = until(lambda: cart.events("release.raised"))
    assert event["facts"] == {"deployment": "guard", "model": "guard-model", "release": 2, "digest": second}
    assert floors(cart)["guard-model"]["digest"] == second
    cart.result_of(cart.admit())
    assert cart.stop() == 0
    assert len(cart.events("release.raised")) == 1

    old = deploy(cart, 1)
    cart.start()
    waiting = cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "bundle.rolled-back"
    assert "release 2" in event["message"]
    rules, faults = eligibilities(load_config(cart.profile))
    assert rules == {"guard": None}, "and nothing is passed over by its word"
    assert faults["guard"].code == "bundle.rolled-back"
    third = deploy(cart, 3)
    assert cart.result_of(waiting)["model"]["digest"] == third, "what was held runs once a later one is there"
    until(lambda: floors(cart)["guard-model"]["release"] == 3)
    assert cart.stop() == 0
    assert old not in {result["model"]["digest"] for result in cart.results()}


def test_the_same_number_with_other_content_is_held(cart: Any, until: Any) -> None:
    cart.configure()
    deploy(cart, 2)
    run_one(cart, until)
    deploy(cart, 2, content="other")
    cart.start()
    cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "bundle.release-reused"


def test_an_exception_runs_aloud_and_moves_nothing(cart: Any, until: Any) -> None:
    cart.configure()
    old = deploy(cart, 1)
    deploy(cart, 2)
    run_one(cart, until)
    assert not cart.events("release.exception")
    assert deploy(cart, 1) == old
    cart.configure(deployment=f'allow_release = "{old}"')
    assert deploy(cart, 1) == old
    assert run_one(cart, until)["model"]["digest"] == old
    [event] = cart.events("release.exception")
    assert event["facts"] == {"deployment": "guard", "model": "guard-model", "release": 1, "digest": old, "floor": 2}
    assert floors(cart)["guard-model"]["release"] == 2


def test_bundles_without_a_number_follow_one_another_freely(cart: Any, until: Any) -> None:
    cart.configure()
    digests = []
    for content in ("one", "two", "one"):
        digests.append(deploy(cart, 0, content=content))
        assert run_one(cart, until)["model"]["digest"] == digests[-1]
    assert digests[0] == digests[2] != digests[1]
    assert not (cart.folder / "data" / FLOORS_NAME).exists()


def test_neither_a_failure_nor_a_self_test_raises_the_floor(cart: Any, until: Any) -> None:
    cart.configure()
    deploy(cart, 2)
    cart.start()
    cart.ready()
    broken = cart.admit(attributes={"PixelData": b"\0\0"})
    uid = selftest.UID_ROOT
    marks = {"Manufacturer": selftest.MANUFACTURER, "ManufacturerModelName": selftest.MODEL_NAME}
    uids = {"SOPInstanceUID": f"{uid}.1", "SeriesInstanceUID": f"{uid}.2", "StudyInstanceUID": f"{uid}.3"}
    cart.admit(attributes={**marks, **uids})
    assert cart.result_of(broken)["outcome"] == "failed"
    until(lambda: len(cart.logged("job.finished")) == 2)
    assert {line["outcome"] for line in cart.logged("job.finished")} == {"failed", "completed"}
    assert floors(cart) == {}
    cart.result_of(cart.admit())
    until(lambda: "guard-model" in floors(cart))


def test_a_floor_that_cannot_be_written_costs_no_result_and_is_written_later(cart: Any, until: Any) -> None:
    cart.configure()
    deploy(cart, 2)
    cart.start()
    cart.ready()
    blocked = cart.folder / "data" / "releases.lock"
    blocked.mkdir()
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    [event] = until(lambda: cart.events("release.unrecorded"))
    assert event["facts"]["release"] == 2
    assert floors(cart) == {}
    blocked.rmdir()
    cart.result_of(cart.admit())
    until(lambda: "guard-model" in floors(cart))


def test_a_floor_outlives_the_spool(cart: Any, until: Any) -> None:
    """Whoever starts with an empty spool, since the old one was damaged, does not start with an empty memory."""
    cart.configure()
    deploy(cart, 2)
    run_one(cart, until)
    cart._spool.close()
    cart._spool = None
    (cart.folder / "data" / "spool").rename(cart.folder / "old-spool")
    (cart.folder / "results.jsonl").unlink()
    deploy(cart, 1)
    cart.start()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "bundle.rolled-back"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_floor_that_was_raised_is_there_after_any_end(cart: Any, until: Any, number: int) -> None:
    cart.configure()
    deploy(cart, 2)
    cart.start()
    cart.ready()
    cart.result_of(cart.admit(BRIGHT, pixels=np.full((16, 16), BRIGHT, np.uint8)))
    until(lambda: "guard-model" in floors(cart))
    cart.process.send_signal(number)
    cart.process.wait(120)
    assert floors(cart)["guard-model"]["release"] == 2
