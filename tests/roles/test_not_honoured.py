"""A bundle that asks for more than this edgeai can do: its images wait, and none is answered without its guard."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.uses import AbstentionUse, ClipUse, GuardUse, UnitUse
from edgeai.config import load_config
from edgeai.roles.on_disk import eligibilities

DEMANDS = {
    "guard": {"guard": GuardUse(abstention=AbstentionUse(method="lac", risk=0.05, quantile=0.9))},
    "unit clip": {"unit": UnitUse(kind="clip", clip=ClipUse(frames=2))},
}


@pytest.mark.parametrize("demand", DEMANDS)
def test_what_cannot_be_honoured_holds_its_images_until_a_bundle_does_without(
    cart: Any, until: Any, demand: str
) -> None:
    cart.configure()
    path = cart.folder / "guard.edgeai"
    whole, plain = path.read_bytes(), read_manifest(path)[0]
    guarded: Manifest = msgspec.structs.replace(plain, schema=2, **DEMANDS[demand])
    pack(cart.folder / "content", guarded, path)
    cart.start()
    waiting = [cart.admit() for _ in range(2)]
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "bundle.not-honoured"
    assert demand in event["message"]
    assert "update edgeai" in event["facts"]["remedy"]
    until(lambda: [item.jobs for item in cart.spool.holds()] == [2])
    rules, faults = eligibilities(load_config(cart.profile))
    assert rules == {"guard": None}, "nothing is passed over by its word"
    assert faults["guard"].code == "bundle.not-honoured"
    assert cart.results() == []
    path.write_bytes(whole)
    assert [cart.result_of(job)["outcome"] for job in waiting] == ["completed"] * 2
