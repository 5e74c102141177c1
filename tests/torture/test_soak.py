"""A soak on a real cart: whatever is done to it ten thousand times, descriptors and memory stay where they are.

Short by default, as a part of ``make test``; ``make torture`` does all of it, prints the curves and writes them as CSV.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

pytestmark = pytest.mark.system

FULL = os.environ.get("EDGEAI_SOAK") == "full"
UNITS = (
    {"scrapes": 5000, "associations": 5000, "broker drops": 500, "jobs": 2000}
    if FULL
    else {"scrapes": 400, "associations": 200, "broker drops": 20, "jobs": 100}
)
SAMPLES = 40 if FULL else 20
MOST_DESCRIPTORS = 6
"""That a process may have more at the end of a phase: connections that happen to be open."""
MOST_KB = 24_000 if FULL else 16_000
"""That it may have grown after warming up. What leaked was 140 kB a scrape: 39 MB in the short form's warm part."""

VERIFICATION = "1.2.840.10008.1.1"


def _curves() -> Any:
    """The module beside this one: folders of tests are no packages here."""
    name = "edgeai_tests_torture_curves"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("curves.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.Curves()


class Soak:
    """A cart, what is done to it, and what it costs."""

    def __init__(self, cart: Any, until: Any, curves: Any) -> None:
        self.cart, self.until, self.curves = cart, until, curves
        self.entity = AE("SOAK")
        self.entity.add_requested_context(VERIFICATION)

    def phase(self, name: str, work: Callable[[int], int]) -> None:
        """Do so many units, and look now and then; ``work(most)`` does some and says how many."""
        total, done, taken = UNITS[name], 0, 0
        self.curves.take(name, 0, self.cart.processes())
        while done < total:
            done += work(total - done)
            if done * SAMPLES // total > taken:
                taken = done * SAMPLES // total
                self.curves.take(name, done, self.cart.processes())

    def scrape(self, most: int) -> int:
        """Both pages."""
        assert self.cart.get("/metrics")[0] == 200
        assert self.cart.get("/health")[0] in (200, 503)
        return min(most, 2)

    def associate(self, most: int) -> int:
        """One association with a C-ECHO."""
        association = self.entity.associate("127.0.0.1", self.cart.dicom_port)
        assert association.is_established
        assert association.send_c_echo().Status == 0x0000
        association.release()
        return 1

    def drop_the_broker(self, most: int) -> int:
        """The connection breaks, and comes back."""
        before = len(self.cart.subscriber.on("status"))
        self.cart.wire.drop_all()

        def is_back() -> bool:
            return any(status["state"] != "offline" for status in self.cart.subscriber.on("status")[before:])

        self.until(is_back, 120, "the reconnect")
        return 1

    def run_jobs(self, most: int) -> int:
        """A burst of images, and all their results."""
        burst = min(most, 50)
        self.cart.send(count=burst)
        self.until(lambda: self.cart.health()[1].get("jobs_waiting") == 0, 240, "the jobs")
        return burst


def test_nothing_grows_whatever_is_done_again_and_again(cart: Any, until: Any, tmp_path: Path) -> None:
    cart.deploy()
    cart.through_a_wire()
    cart.listen()
    cart.start()
    until(lambda: cart.health()[0] == 200, 120)
    curves = _curves()
    soak = Soak(cart, until, curves)
    processes = cart.processes()
    try:
        soak.phase("scrapes", soak.scrape)
        soak.phase("associations", soak.associate)
        soak.phase("broker drops", soak.drop_the_broker)
        soak.phase("jobs", soak.run_jobs)
    finally:
        print(f"\n{curves.table()}")
        curves.write(Path(os.environ.get("EDGEAI_SOAK_CSV") or tmp_path / "soak.csv"))
    assert cart.processes() == processes, "no process was started again"
    until(lambda: cart.health()[1]["messages_waiting"] == 0, 240)
    assert len(cart.subscriber.results()) == UNITS["jobs"]
    ledger = cart.health()[1]["ledger"]
    assert [entry["missing"] for entry in (*ledger["jobs"], *ledger["messages"])] == [0] * (
        len(ledger["jobs"]) + len(ledger["messages"])
    )
    grown = [item for item in curves.curves() if item.descriptors_rise > MOST_DESCRIPTORS or item.rss_kb_rise > MOST_KB]
    assert grown == []
