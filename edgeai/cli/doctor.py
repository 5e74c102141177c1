"""``edgeai doctor``: look at everything that a device needs, and say what to do about what is missing."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.doctor import Check

_MARK = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
_INDENT = " " * 6


def command(
    profile: Annotated[
        Path | None, typer.Argument(help="the device's profile; without one, only the plugins are looked at")
    ] = None,
    limit_s: Annotated[
        float, typer.Option(help="seconds that a plugin may take to load, to look for devices, or to open a sink")
    ] = 60.0,
    as_json: Annotated[bool, output.option("JSON, for programs")] = False,
) -> None:
    """Open what `edgeai run` would open, and say what to do about what is wrong.

    Plugins, every deployment on its engine, sinks, the broker, ports, disk, spool, clock and certificates. What may
    die or hang is opened in a process of its own. Safe beside a running service: nothing is written below data_dir;
    the broker sees a client come, publish the status as it is without retaining it, and go.
    Exit status 1 when anything fails; warnings alone are 0.
    """
    from edgeai.config import load_config
    from edgeai.doctor import checkup

    findings = []
    for item in checkup(load_config(profile) if profile else None, limit_s=limit_s):
        findings.append(item)
        if not as_json:
            _print(item)
    if as_json:
        rows = [{name: getattr(item, name) for name in item.__slots__} for item in findings]
        output.put(json.dumps(rows, indent=1))
    raise typer.Exit(1 if any(item.verdict == "fail" for item in findings) else 0)


def _print(item: Check) -> None:
    mark, colour = _MARK[item.verdict]
    first, *rest = _wrapped(f"{item.what}: {item.found}")
    typer.echo(typer.style(f"{mark:<6}", fg=colour) + first)
    for line in rest:
        typer.echo(_INDENT + line)
    if item.verdict != "ok" and item.remedy:
        for line in _wrapped(f"what to do: {item.remedy}"):
            typer.echo(_INDENT + line)


def _wrapped(text: str) -> Iterator[str]:
    """Within the terminal's width, but no path and no command is ever cut."""
    width = max(40, shutil.get_terminal_size().columns - len(_INDENT))
    lines = [
        line
        for part in text.splitlines()
        for line in textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False)
    ]
    return iter(lines or [""])
