"""What a rollout would do: by the functions of a conductor, the same for the same seed, and without waiting."""

from __future__ import annotations

from typing import Any

import pytest

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Approval, Needs, Phase, Plan, Rollout, Select, Shadow
from edgeai.rollouts.document import Halting
from edgeai_fleet.commands.broker import hold_to_extra
from edgeai_fleet.commands.simulate import _hold_to_shares
from edgeai_fleet.conducting.simulating import simulate
from edgeai_fleet.conducting.world import World, fleet_of

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
    assert "running it without images" in seen.why


def test_a_rollout_for_nobody_is_told(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="takes none of 10 carts"):
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


def test_carts_take_it_and_switch_in_the_windows_of_the_plan_by_their_own_clocks() -> None:
    """Begun at 10:00 of UTC on a Monday; two hours a night, in which not every cart looks."""
    one = (Phase(share=1.0),)
    night = {"phases": one, "windows": ("02:00-04:00",)}
    free = simulate(rollout(phases=one), fleet_of(40, "tiny"), World())
    held = simulate(rollout(**night), fleet_of(40, "tiny"), World())
    assert (free.state, held.state) == ("done", "done")
    assert held.seconds > free.seconds + 16 * 3600, "it waits for the night, and some looks miss it"
    soon = simulate(rollout(**night), fleet_of(40, "tiny"), World(utc_offset_h=-9.0, look_every_s=1800.0))
    missed = simulate(rollout(**night), fleet_of(40, "tiny"), World(utc_offset_h=-5.0, look_every_s=1800.0))
    assert soon.seconds + 15 * 3600 < missed.seconds, "at one of them it is 1 at night, at the other 5"


def test_a_phase_that_needs_an_approval_waits_for_it_and_halts_nothing() -> None:
    phases = (Phase(share=0.2), Phase(share=1.0, approval=True))
    never = simulate(rollout(phases=phases), fleet_of(50, "tiny"), World())
    assert (never.state, [change.step for change in never.changes]) == ("running", ["go-on"])
    assert (never.standings[1].waiting, never.reasons) == (never.standings[1].carts, {})
    later = simulate(rollout(phases=phases), fleet_of(50, "tiny"), World(approved_after_s=5 * DAY))
    assert later.state == "done"
    assert later.seconds > later.changes[0].at_s + 5 * DAY
    plan = rollout(phases=phases).plan
    other = Approval(rollout="tiny-2", plan=f"sha256:{'0' * 64}", phase=2, at=AT)
    assert simulate(rollout(phases=phases), fleet_of(50, "tiny"), World(), other).state == "running", "of another plan"
    signed = Approval(rollout="tiny-2", plan=plan.fingerprint, phase=2, at=AT)
    assert simulate(rollout(phases=phases), fleet_of(50, "tiny"), World(), signed).state == "done"


@pytest.mark.parametrize(
    ("agrees", "ends"), [(1.0, {}), (0.7, {"slots.disagrees": 20}), (0.955, {"slots.not-shown": 20})]
)
def test_a_shadow_is_judged_by_the_rule_of_the_cart(agrees: float, ends: dict[str, int]) -> None:
    needs = Needs(shadow=Shadow(agreement=0.95, images=40 if 0.9 < agrees < 1 else 500))
    plan = {"phases": (Phase(share=1.0),), "needs": needs, "halting": Halting(failures=1.0)}
    seen = simulate(rollout(**plan), fleet_of(20, "tiny"), World(agrees=agrees))
    assert seen.reasons == ends
    assert seen.state == ("done" if not ends else "running")


def test_it_is_not_done_before_carts_without_images_have_settled() -> None:
    one = (Phase(share=1.0, soak_s=DAY),)
    world = World(idle=0.2)
    seen = simulate(rollout(phases=one), fleet_of(50, "tiny"), world)
    assert (seen.state, seen.standings[0].undecided) == ("done", 13)
    assert seen.seconds > DAY + 60
    dark = simulate(rollout(phases=one, halting=Halting(failures=0.5)), fleet_of(50, "tiny"), World(silent=0.1))
    assert (dark.state, dark.reasons) == ("done", {"fleet.silent": 4})
    assert dark.seconds > DAY, "one that fell silent after it switched is waited for, and counted"


def test_what_carts_say_is_counted_as_carts_count_it() -> None:
    """An idle cart says a status each quarter of an hour and after each look; another one with each image, too."""
    idle, busy = World(look_every_s=1e9).said(0.0, DAY), World(look_every_s=1e9).said(DAY / 60, DAY)
    assert idle == pytest.approx({"result": 0.0, "status": 96.0}, rel=0.01)
    assert busy == pytest.approx({"result": 1440.0, "status": 1440.0}, rel=0.01)
    seen = simulate(rollout(phases=(Phase(share=1.0),)), fleet_of(10, "tiny"), World())
    assert seen.messages == sum(seen.said.values())
    assert seen.said["event"] == 10 * 4, "installed, rehearsed, activated, proven"
