"""What `edgeai fleet simulate` says of a run beforehand, to hold the run to."""

from __future__ import annotations

from typing import Final

import msgspec

from benchmarks.thousand.kinds import KINDS
from benchmarks.thousand.profiles import Fleet
from edgeai import __version__
from edgeai.rollouts import Facts, Rollout
from edgeai_fleet.conducting.simulating import Forecast, simulate
from edgeai_fleet.conducting.world import World

NEW_BYTES: Final = 64_000
"""What is new in the release, packed: weights, a golden case, manifest and notes."""


def forecast(rollout: Rollout, carts: list[str], fleet: Fleet) -> Forecast:
    """For these carts, at the rates of the fleet; of the rollout the plan alone counts."""
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
    return simulate(begun, devices, world)
