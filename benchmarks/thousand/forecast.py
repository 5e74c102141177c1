"""What `edgeai fleet simulate` says of a run beforehand, to hold the run to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import msgspec

from benchmarks.thousand.kinds import KINDS
from benchmarks.thousand.profiles import Fleet
from edgeai import __version__
from edgeai.rollouts import Facts, Rollout
from edgeai_fleet.conducting.simulating import Forecast, simulate
from edgeai_fleet.conducting.world import World

NEW_BYTES: Final = 74_000
"""What is new in the release, packed: weights, a golden case, manifest and notes."""
SEEDS: Final = 9
"""Lots fall otherwise in each: of few carts in a first phase, one that fails may hold a rollout for ever."""


def forecast(rollout: Rollout, carts: list[str], fleet: Fleet) -> Forecast:
    """For these carts, at the rates of the fleet; of the rollout the plan alone counts. Of several seeds that of the
    median time, among those that end as most of them do.
    """
    places = [name.split("/") for name in carts]
    devices = [Facts(site=site, device=device, edgeai=__version__, model="tiny", digest="") for site, device in places]
    begun = msgspec.structs.replace(rollout, serial=1, open=1, state="running", halts=0, why="")
    in_rehearsal = sum(kind.rehearsal is not None for kind in KINDS.values())
    world = World(
        bytes=NEW_BYTES,
        look_every_s=fleet.looks_every_s,
        images=86_400.0 / fleet.images_every_s,
        needed=fleet.needed,
        rehearsal_fails=in_rehearsal * fleet.share,
        probation_fails=(len(KINDS) - 1 - in_rehearsal) * fleet.share,
        silent=fleet.silent,
    )
    every = [simulate(begun, devices, replace(world, seed=seed)) for seed in range(1, SEEDS + 1)]
    usual, _ = Counter(each.state for each in every).most_common(1)[0]
    alike = sorted((each for each in every if each.state == usual), key=lambda each: each.seconds)
    return alike[len(alike) // 2]
