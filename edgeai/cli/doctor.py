"""``edgeai doctor``: look at everything that a device needs, and say what to do about what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeai.cli import output

_STYLE = {"ok": "green", "warn": "yellow", "fail": "red"}


def command(
    profile: Annotated[
        Path | None, typer.Argument(help="the device's profile; without one, only the engines are looked at")
    ] = None,
    as_json: Annotated[bool, output.option("JSON, for programs")] = False,
) -> None:
    """Look at engines, devices, bundles, broker, ports, disk, clock and certificates; say what to do about each.

    Safe beside a running service: nothing is written and nothing published; the broker sees a client come and go.
    Exit status 1 when anything fails; warnings alone are 0.
    """
    from edgeai.checkup import checkup
    from edgeai.config import load_config

    findings = list(checkup(load_config(profile) if profile else None))
    if as_json:
        rows = [{name: getattr(item, name) for name in item.__slots__} for item in findings]
        output.put(json.dumps(rows, indent=1))
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("", "what", "found", "what to do")
        for item in findings:
            mark = f"[{_STYLE[item.verdict]}]{item.verdict}[/]"
            table.add_row(mark, item.what, item.found, item.remedy if item.verdict != "ok" else "")
        Console().print(table)
    raise typer.Exit(1 if any(item.verdict == "fail" for item in findings) else 0)
