"""Ends of jobs are made durable several at once, and none waits long."""

from __future__ import annotations

import pytest

from edgeai.api import SpoolError
from edgeai.roles import ends
from edgeai.roles.ends import AGAIN_S, LONGEST_S, MOST, Ends


class Disk:
    """As much of a spool as ``Ends`` asks for, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.times, self.is_broken = 100.0, 0, False
        monkeypatch.setattr(ends.time, "monotonic", lambda: self.now)

    def make_ends_durable(self) -> None:
        if self.is_broken:
            raise SpoolError("it does not write")
        self.times += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def mine(disk: Disk) -> Ends:
    made = Ends(disk)  # type: ignore[arg-type]
    made.make_durable_when_due()
    return made


def test_what_an_earlier_life_left_is_due_at_once(disk: Disk, mine: Ends) -> None:
    assert disk.times == 1
    assert mine.due_in_s == float("inf")


def test_the_first_waits_for_others_and_not_for_long(disk: Disk, mine: Ends) -> None:
    mine.one_more()
    disk.now += LONGEST_S / 2
    mine.one_more()
    mine.make_durable_when_due()
    assert (disk.times, mine.due_in_s) == (1, pytest.approx(LONGEST_S / 2))
    disk.now += LONGEST_S
    mine.make_durable_when_due()
    assert disk.times == 2


def test_many_do_not_wait(disk: Disk, mine: Ends) -> None:
    for number in range(MOST):
        assert disk.times == 1, number
        mine.one_more()
        mine.make_durable_when_due()
    assert disk.times == 2


def test_what_the_disk_refused_is_told_and_tried_again_after_a_pause(
    disk: Disk, mine: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    mine.one_more()
    disk.now += LONGEST_S
    disk.is_broken = True
    mine.make_durable_when_due()
    assert "spool.trouble" in caplog.text
    assert mine.due_in_s == pytest.approx(AGAIN_S)
    disk.is_broken = False
    disk.now += AGAIN_S
    mine.make_durable_when_due()
    assert (disk.times, mine.due_in_s) == (2, float("inf"))
