"""What a rollout would do: by the functions of a conductor, the same for the same seed, and without waiting."""

from __future__ import annotations

from typing import Any

import pytest

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Phase, Plan, Rollout, Select
from edgeai.rollouts.document import Halting
from edgeai_fleet.commands.broker import hold_to_extra
from edgeai_fleet.commands.simulate import _hold_to_shares
from edgeai_fleet.conducting.simulating import World, fleet_of, simulate

AT = "2026-05-04T10:00:00Z"
DAY = 86_400.0
THREE = tuple(Phase(share=share, soak_s=DAY) for share in (0.1, 0.5, 1.0))


def rollout(**changes: Any) -> Rollout:
    plan = {"model": "tiny", "release": 2, "digest": f"sha256:{'2' * 64}", "phases": THREE, **changes}
    return Rollout(name="tiny-2", serial=1, since=AT, at=AT, plan=Plan(**plan))


def test_a_good_release_goes_through_all_phases_and_is_counted_to_the_byte() -> None:
    seen = simulate(rollout(), fleet_of(100, "tiny"), World())
    assert [change.step for change in seen.changes] == ["go-on", "go-on", "done"]
    assert seen.changes[0].at_s == pytest.approx(DAY)
    assert (seen.state, seen.carts, seen.reasons) == ("done", 100, {})
    assert sum(each.succeeded for each in seen.standings) == 100
    assert seen.fetched_bytes == 100 * World().bytes


def test_the_same_seed_is_the_same_run_and_another_is_another() -> None:
    world = World(rehearsal_fails=0.02, probation_fails=0.02, silent=0.01)
    runs = [simulate(rollout(halting=Halting(least=5)), fleet_of(100, "tiny"), world) for _ in range(2)]
    assert runs[0] == runs[1]
    other = World(rehearsal_fails=0.02, probation_fails=0.02, silent=0.01, seed=2)
    assert simulate(rollout(halting=Halting(least=5)), fleet_of(100, "tiny"), other) != runs[0]


@pytest.mark.parametrize(
    ("fails", "code"),
    [
        ({"rehearsal_fails": 0.5}, "slots.rehearsal-died"),
        ({"probation_fails": 0.5}, "slots.failures"),
        ({"silent": 0.5}, "fleet.silent"),
    ],
)
def test_a_bad_release_halts_in_its_first_phase_and_is_fetched_by_no_other_cart(
    fails: dict[str, float], code: str
) -> None:
    seen = simulate(rollout(halting=Halting(least=2)), fleet_of(200, "tiny"), World(**fails))
    assert (seen.state, list(seen.reasons)) == ("halted", [code])
    assert seen.standings[1].carts == 0
    assert seen.fetched_bytes <= seen.standings[0].carts * World().bytes


def test_carts_without_images_hold_it_open_and_halt_nothing() -> None:
    seen = simulate(rollout(), fleet_of(50, "tiny"), World(idle=1.0, longest_s=20 * DAY))
    assert (seen.state, seen.changes) == ("running", ())
    assert "have no images" in seen.why


def test_a_rollout_for_nobody_is_told(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="takes none of these 10 carts"):
        simulate(rollout(select=Select(sites=("elsewhere",))), fleet_of(10, "tiny"), World())


def test_shares_of_carts_are_shares() -> None:
    with pytest.raises(ConfigError) as refused:
        _hold_to_shares({"rehearsal_fails": 0.6, "probation_fails": 0.6, "silent": 0.0, "idle": 0.0})
    assert refused.value.code == "fleet.shares"


def test_a_conductor_without_its_store_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        hold_to_extra()
    assert refused.value.code == "fleet.extra-missing"
