"""``edgeai selftest``: a phantom travels the whole way, from the DICOM port to whoever reads results."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeai.cli import output
from edgeai.selftest import LIMIT_S


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    as_json: Annotated[bool, output.option("one JSON object, for programs")] = False,
    timeout: Annotated[float, typer.Option(min=1.0, help="how long a phantom may take, in seconds")] = LIMIT_S,
) -> None:
    """Send a phantom to the running device as a modality would, and check that its end arrives at the far end.

    The phantom is marked as one, and how it ends goes out on a topic of its own: no reader of results sees it. It may
    complete or be not applicable; either is an end. Exit status 0 when it got through, else 1; the message says how far
    it came.
    """
    from edgeai.cli.device import existing_spool
    from edgeai.cli.selftest_journey import Journey, Stuck
    from edgeai.config import load_config

    config = load_config(profile)
    journey = Journey(config=config, spool=existing_spool(config), limit_s=timeout)
    begun = time.monotonic()
    stuck: Stuck | None = None
    try:
        journey.run()
    except Stuck as error:
        stuck = error
    finally:
        journey.spool.close()
    if as_json:
        output.put(json.dumps(_outcome(journey, stuck, time.monotonic() - begun), indent=1))
    else:
        _print(journey, stuck)
    raise typer.Exit(0 if stuck is None else 1)


def _outcome(journey: Any, stuck: Any, seconds: float) -> dict[str, Any]:
    return {
        "passed": stuck is None,
        "stage": stuck.stage if stuck else None,
        "code": stuck.code if stuck else None,
        "message": str(stuck) if stuck else None,
        "remedy": stuck.remedy if stuck else None,
        "in": journey.names[0],
        "out": journey.names[1],
        "ends": [{name: getattr(end, name) for name in end.__slots__} for end in journey.ends],
        "untested": journey.untested,
        "seconds": round(seconds, 2),
    }


def _print(journey: Any, stuck: Any) -> None:
    for end in journey.ends:
        why = f" ({end.code})" if end.code else ""
        typer.echo(f"{end.deployment}: {end.ended}{why}, heard at the {journey.names[1]} after {end.seconds:.2f} s")
    for name in journey.untested:
        typer.echo(f"{name}: not tested, it wants images of which no phantom can be written")
    if stuck is None:
        typer.echo(f"the self-test passed: {journey.names[0]} to {journey.names[1]}")
        return
    typer.echo(f"the self-test failed at {stuck.stage}: [{stuck.code}] {stuck}", err=True)
    if stuck.remedy:
        typer.echo(f"  what to do: {stuck.remedy}", err=True)
