"""``python -m benchmarks.thousand CARTS``: one run, told as JSON. ``python -m benchmarks fleet`` compares three."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.thousand.kinds import KINDS
from benchmarks.thousand.running import Outcome, Plan, compared, run


def main() -> None:
    """Read the options, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thousand", description=__doc__)
    parser.add_argument("carts", type=int)
    parser.add_argument("--share", type=float, default=0.02, help="of carts of each failing kind")
    parser.add_argument("--silent", type=float, default=0.01, help="of carts that fall silent")
    parser.add_argument("--failures", type=float, default=0.2, help="share of failed carts above which it is halted")
    parser.add_argument("--phases", default="2,20,100", help="percent of the carts")
    parser.add_argument("--soak", type=float, default=6.0, help="hours that a phase is open at least")
    parser.add_argument("--looks", type=float, default=6.0, help="hours between two looks of a cart")
    parser.add_argument("--images", type=float, default=30.0, help="minutes between two images of a cart")
    parser.add_argument("--seed", default="1", help="of every lot")
    parser.add_argument("--processes", type=int, help="that the carts share; by itself one for each 250, and two")
    options = parser.parse_args()
    shares = tuple(float(word) / 100 for word in options.phases.split(","))
    plan = Plan(shares=shares, soak_h=options.soak, failures=options.failures, silent_h=2 * options.soak)
    before = [""]

    def tell(line: str) -> None:
        if line != before[0]:
            before[0] = line
            print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="edgeai-fleet-") as folder:
        life = {"looks_every_s": options.looks * 3600, "images_every_s": options.images * 60}
        lots = {"share": options.share, "silent": options.silent, "seed": options.seed}
        outcome = run(Path(folder), options.carts, plan, processes=options.processes, tell=tell, **lots, **life)
    print(json.dumps(told(outcome), indent=1))


def told(outcome: Outcome) -> dict[str, object]:
    """For programs."""
    rollout, crowd, kept = outcome.seen.rollout, outcome.told, outcome.seen.kept
    predicted = outcome.forecast

    def hours_of(at: float) -> float:
        return round((at - outcome.began_at) / 3600, 2)

    return {
        "state": rollout.state,
        "open": rollout.open,
        "why": rollout.why,
        "hours": outcome.hours,
        "setting_s": round(outcome.setting_s, 1),
        "wall_s": round(outcome.wall_s, 1),
        "verdicts": {
            f"{each.site}/{each.device}": [each.verdict.word, each.verdict.code, hours_of(each.since)] for each in kept
        },
        "carts": {name: list(each) for name, each in sorted(crowd.carts.items())},
        "expected": {name: kind.ends_as for name, kind in KINDS.items()},
        "codes": sorted(crowd.codes),
        "cpu_s": outcome.spent_s,
        "parts_s": {**crowd.parts_s},
        "messages": {**crowd.messages},
        "message_bytes": {**crowd.message_bytes},
        "fetched_bytes": crowd.fetched_bytes,
        "requests": outcome.requests,
        "forecast": {
            "state": predicted.state,
            "hours": predicted.seconds / 3600,
            "fetched_bytes": predicted.fetched_bytes,
            "messages": predicted.said,
            "message_bytes": predicted.message_bytes,
            "reasons": predicted.reasons,
        },
        "as_predicted": compared(outcome),
        "looks": crowd.looks,
        "images": crowd.images,
    }


if __name__ == "__main__":
    main()
