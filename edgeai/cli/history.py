"""``edgeai history``: every model that ever answered here, since when, by whose signature, and why it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig

_BY = {
    "adopted": "another was adopted",
    "activated": "an update took its place",
    "rolled-back": "rolled back",
    "superseded": "gave way to a newer one",
    "ordered-back": "left by an order",
    "damaged": "damaged on disk",
}


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    deployment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="only this deployment; may be repeated")
    ] = None,
    as_json: Annotated[bool, output.option("one JSON object, for programs")] = False,
) -> None:
    """Show every model that ever answered on a deployment that takes updates: when, by whose signature, why it ended.

    Exit status: 0 when it was told, also where nothing has answered yet; 2 when the profile cannot be used or no such
    deployment takes updates.
    """
    from edgeai.config import load_config

    config = load_config(profile)
    told = {item.name: list(_stays(config, item)) for item in _meant(config, deployment or [])}
    if as_json:
        output.put(json.dumps({"deployments": told}, indent=1))
        return
    from rich.console import Console

    console = Console()
    for name, stays in told.items():
        console.print(_table(name, stays))


def _meant(config: DeviceConfig, names: list[str]) -> list[Deployment]:
    """Raises ``ConfigError``: ``config.no-deployment``."""
    from edgeai.api.errors import ConfigError

    taking = {item.name: item for item in config.deployments if item.updates}
    wrong = [name for name in names if name not in taking]
    if wrong or not taking:
        here = ", ".join(taking) or "none"
        raise ConfigError(
            f"no deployment {wrong[0]!r} takes updates (here: {here})" if wrong else "no deployment here takes updates",
            code="config.no-deployment",
            remedy="a plain cart keeps no history: each result names its model's digest; `updates = true` keeps one",
        )
    return [taking[name] for name in names] or list(taking.values())


def _stays(config: DeviceConfig, deployment: Deployment) -> Iterator[dict[str, Any]]:
    """Oldest first, each with its end, which the next one's beginning knows."""
    from edgeai.slots import SlotFolder
    from edgeai.slots.answered import read_answers

    folder = SlotFolder.of_device(config, deployment)
    answers, slots = read_answers(folder.folder), folder.read()
    for answer, after in zip(answers, (*answers[1:], None), strict=False):
        stay: dict[str, Any] = {
            name: getattr(answer, name) for name in ("model", "version", "release", "digest", "since")
        }
        failed = slots.bad.get(answer.digest)
        ended = after is not None and after.left == answer.digest
        why = after.why if after is not None and ended else ""
        yield {
            **stay,
            "signers": list(answer.signers),
            "until": after.since if after is not None else None,
            "ended": _BY.get(after.by, after.by) if after is not None else None,
            "why": why or (failed.why if failed is not None and after is not None else "") or None,
        }


def _table(name: str, stays: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Models that answered on {name}", title_justify="left", title_style="bold", expand=False)
    for column in ("first answer", "next one's", "model", "release", "digest", "signed by", "why it ended"):
        table.add_column(column, overflow="fold")
    for stay in stays:
        ended = ": ".join(part for part in (stay["ended"], stay["why"]) if part) or "it runs"
        signed = ", ".join(signer.partition(" ")[0] for signer in stay["signers"])
        table.add_row(
            stay["since"],
            stay["until"] or "",
            f"{stay['model']} {stay['version']}",
            str(stay["release"]),
            f"{stay['digest'][:19]}...",
            escape(signed),
            escape(ended),
        )
    return table
