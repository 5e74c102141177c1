"""``edgeai fleet demo``: a rollout that goes through and one that is undone, on three carts in one terminal."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgeai.testing.repository import OpsTeam
    from edgeai_fleet.demo.releases import Releases
    from edgeai_fleet.demo.stage import FleetStage
    from edgeai_fleet.demo.story import Act
    from edgeai_fleet.demo.summing import Check

_ACTS = (
    ("guard-2", "good", "a release that is as good: to one cart first, then to all"),
    ("guard-3", "bad", "a release whose golden cases pass, and which cannot do most real images"),
)


def command(
    backend: Annotated[str, typer.Option(help="Engine that the carts run, by the name of its plugin.")] = "tflite",
    bundle: Annotated[
        Path | None, typer.Option(help="The model; modality-guard of this checkout without.", show_default=False)
    ] = None,
) -> None:
    """Roll out two releases to three carts that run: a good one goes through, a bad one is undone and halted.

    Makes keys and a signed repository, serves it over HTTP, starts a broker and three `edgeai run`, sends them real
    images, and conducts both rollouts. Needs no network, no GPU and no service, and takes about two minutes;
    everything that it starts ends with it. Exit status 0 when everything happened as it should, else 1.
    """
    from rich.console import Console

    from edgeai.cli.demo_files import find_bundle
    from edgeai.testing.repository import OpsTeam
    from edgeai_fleet.demo.releases import make_releases
    from edgeai_fleet.demo.stage import FleetStage

    console = Console()
    model, began = find_bundle(bundle), time.monotonic()
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="edgeai-demo-")))
        team = OpsTeam(folder / "ops")
        team.begin()
        releases = make_releases(model, folder / "releases", team.key("release"))
        team.offer(releases.first)
        _say(console, "keys made, and a repository signed by root, targets, rollouts, snapshot and timestamp")
        stage = ending.enter_context(FleetStage(folder, team.public, team.trust, releases.first, backend))
        _say(console, f"broker {stage.broker_name}; 3 carts run after {time.monotonic() - began:.0f} s, images come")
        checks = _played(console, team, stage, releases)
    _say(console, "")
    for check in checks:
        console.print(f"{'[green]yes[/]' if check.holds else '[bold red]NO [/]'} ", end="")
        _say(console, check.sentence)
    _say(console, f"{time.monotonic() - began:.0f} s in all")
    raise typer.Exit(0 if all(check.holds for check in checks) else 1)


def _played(console: Console, team: OpsTeam, stage: FleetStage, releases: Releases) -> list[Check]:
    """Both acts; what must be after them."""
    from rich.live import Live

    from edgeai_fleet.demo.story import Story
    from edgeai_fleet.demo.summing import after_the_bad, after_the_good, of_images

    checks: list[Check] = []
    acts: list[Act] = []
    live: list[Live] = []
    story = Story(team, stage, lambda picture: live[-1].update(picture))
    try:
        for name, kind, sentence in _ACTS:
            console.print(f"\n[bold]{name}[/]: {sentence}\n")
            live.append(Live(console=console, refresh_per_second=4, vertical_overflow="visible"))
            with live[-1]:
                acts.append(story.act(name, releases.model, getattr(releases, kind)))
            console.print()
            _say(console, f"{name} is {acts[-1].seen.rollout.state} after {acts[-1].seconds:.0f} s")
        good, bad = acts
        checks += [*after_the_good(good), *after_the_bad(bad, stage, good.seen.rollout.plan.release)]
        stage.stop_images()
        story.wait_for(lambda: of_images(stage).holds)
        checks.append(of_images(stage))
    finally:
        story.close()
    return checks


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False)
