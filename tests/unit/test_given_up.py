"""What this device could not rehearse: remembered, and let come again when it may go otherwise."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgeai.bundle.releases import Numbered
from edgeai.config import DeviceConfig, load_config
from edgeai.slots import Slots, SlotsError, moves
from edgeai.slots.given_up import cause_of, hold_to_given_up
from edgeai.slots.record import MAX_GIVEN_UP, decode, encode

AT = "2026-11-30T01:00:00Z"
NOW = datetime.fromisoformat(AT)
BUNDLE = Numbered(name="guard", release=2, digest=f"sha256:{2:064x}")


def profile(folder: Path, more: str = "") -> DeviceConfig:
    path = folder / "profile.toml"
    path.write_text(
        'schema = 1\n[device]\nid = "cart"\nsite = "lab"\n'
        f'[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\nupdates = true\n{more}\n'
    )
    (folder / "guard.edgeai").touch()
    return load_config(path)


def given_up(config: DeviceConfig, slots: Slots | None = None, bundle: Numbered = BUNDLE) -> Slots:
    there = moves.filled(moves.begin(slots or Slots(), bundle, AT), AT)
    cause = cause_of(config, config.deployments[0])
    return decode(encode(moves.abandon(there, "no engine opens it", AT, bundle.digest, cause)))


def is_held(slots: Slots, config: DeviceConfig, after: timedelta) -> bool:
    try:
        hold_to_given_up(slots, BUNDLE, config, config.deployments[0], NOW + after)
    except SlotsError as error:
        return error.code == "slots.given-up" and "no engine opens it" in str(error)
    return False


def test_it_waits_longer_each_time(tmp_path: Path) -> None:
    config, slots = profile(tmp_path), Slots()
    assert not is_held(slots, config, timedelta())
    for hours in (1, 2, 4):
        slots = given_up(config, slots)
        assert is_held(slots, config, timedelta(hours=hours, minutes=-1))
        assert not is_held(slots, config, timedelta(hours=hours, minutes=1))
    for _ in range(20):
        slots = given_up(config, slots)
    assert is_held(slots, config, timedelta(days=6))
    assert not is_held(slots, config, timedelta(days=8))


def test_it_comes_at_once_where_the_device_is_another_or_the_clock_went_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = profile(tmp_path)
    slots = given_up(config)
    assert is_held(slots, config, timedelta())
    assert not is_held(slots, config, timedelta(days=-1))
    for more in ('backends = ["other"]', '[plugins]\nallow = ["another"]'):
        assert not is_held(slots, profile(tmp_path, more), timedelta())
    monkeypatch.setattr("edgeai.slots.given_up.metadata.distributions", tuple)
    assert not is_held(slots, config, timedelta())
    assert given_up(config, slots).given_up[BUNDLE.digest].times == 1


def test_others_are_not_held_and_what_is_rehearsed_is_forgotten(tmp_path: Path) -> None:
    config = profile(tmp_path)
    slots = given_up(config)
    other = Numbered(name="guard", release=3, digest=f"sha256:{3:064x}")
    hold_to_given_up(slots, other, config, config.deployments[0], NOW)
    slots = moves.rehearsed(moves.filled(moves.begin(slots, BUNDLE, AT), AT), AT)
    assert slots.given_up == {}


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    config, slots = profile(tmp_path), Slots()
    for release in range(1, MAX_GIVEN_UP + 5):
        slots = given_up(config, slots, Numbered(name="guard", release=release, digest=f"sha256:{release:064x}"))
    assert len(slots.given_up) == MAX_GIVEN_UP
    assert f"sha256:{MAX_GIVEN_UP + 4:064x}" in slots.given_up


def test_what_a_full_disk_or_a_power_cut_ended_is_not_remembered() -> None:
    slots = moves.abandon(moves.begin(Slots(), BUNDLE, AT), "it was interrupted", AT)
    assert slots.given_up == {}
