"""``edgeai plugins``: what is installed, whether it keeps its contract, and a new one to begin with."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeai.api.errors import PluginError, PluginFault, PluginIncompatible, PluginNotFound
from edgeai.cli import output

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Plugins: list them, check them against the contract, begin one."
)

_MARKS = {"pass": "ok", "skip": "skip", "fail": "FAIL", "died": "DIED", "hung": "HUNG"}
_COLOURS = {"pass": "green", "skip": "yellow", "fail": "red", "died": "red", "hung": "red"}
_ERRORS: Mapping[str, type[PluginError]] = {
    error.default_code: error for error in (PluginNotFound, PluginIncompatible, PluginFault)
}


@app.command("list")
def list_plugins(
    as_json: Annotated[bool, output.option("Print JSON.")] = False,
) -> None:
    """List the installed plugins from their metadata alone: nothing of a plugin is imported."""
    from edgeai.plugins import find

    found = find()
    if as_json:
        output.put(json.dumps([asdict(info) for info in found], indent=1))
        return
    rows = [(info.name, info.distribution, info.version, info.module) for info in found]
    _print_rows([("name", "distribution", "version", "module"), *rows])
    twice = [name for name, count in Counter(info.name for info in found).items() if count > 1]
    for name in twice:
        typer.echo(f"warning: {name!r} is provided twice and will not load; uninstall one of the two", err=True)


@app.command("check")
def check_plugin(
    name: Annotated[str, typer.Argument(help="Name of the plugin, as `edgeai plugins list` shows it.")],
    tests: Annotated[
        Path | None,
        typer.Option(help="The author's test_conformance.py; by default the one beside the plugin's module, if any."),
    ] = None,
    stall_s: Annotated[float, typer.Option(help="Seconds without news after which a rule is taken to hang.")] = 300.0,
    as_json: Annotated[bool, output.option("Print JSON.")] = False,
) -> None:
    """Hold a plugin to its contract, in processes of its own; the exit status is 1 when a rule is broken.

    Runs the author's conformance tests where they are found. Specs that these leave out are held to the
    rules that need no example (an artifact, settings); the others are shown as skipped.
    """
    body = _check(name, tests, stall_s)
    if as_json:
        output.put(json.dumps(body, indent=1))
    elif "error" not in body:
        _print_report(body)
    if "error" in body:
        error = body["error"]
        raise _ERRORS.get(error["code"], PluginFault)(error["message"], code=error["code"], remedy=error["remedy"])
    if any(rule["outcome"] not in ("pass", "skip") for rule in body["rules"]):
        raise typer.Exit(1)


@app.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(help="Its name: lower-case words joined by -, such as acme-npu.")],
    kind: Annotated[str, typer.Option(help="backend, transform, task, sink, source or converter.")] = "backend",
    output: Annotated[Path, typer.Option(help="Folder to write the new folder into.")] = Path(),
) -> None:
    """Write a plugin that works, tests included, to be changed into yours."""
    from edgeai.cli.scaffold import write_plugin

    written = write_plugin(name, kind, output)
    for path in written:
        typer.echo(str(path))
    folder = written[0].parent
    typer.echo(f"\nnext: cd {folder} && pip install -e '.[test]' && pytest")


def _check(name: str, tests: Path | None, stall_s: float) -> dict[str, Any]:
    """The report of ``edgeai.testing.check``, which runs apart: its rules run plugins, and plugins may die."""
    if find_spec("pytest") is None:
        raise PluginNotFound("the conformance kit needs pytest", remedy="pip install 'edgeai[testing]'")
    with tempfile.TemporaryDirectory(prefix="edgeai-check-") as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "edgeai.testing.check", name, "--report", str(report)]
        command += ["--stall-s", str(stall_s), *(["--tests", str(tests.resolve())] if tests else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.exists():
            raise PluginFault(f"checking {name!r} ended without a report: {done.stderr.strip()[-500:]}")
        body: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return body


def _print_report(body: dict[str, Any]) -> None:
    """Each spec with its rules; what was skipped for the same reason is one line."""
    specs = dict.fromkeys((rule["kind"], rule["spec"]) for rule in body["rules"])
    for kind, spec in specs:
        rules = [rule for rule in body["rules"] if (rule["kind"], rule["spec"]) == (kind, spec)]
        typer.secho(f"\n{kind} {spec}".rstrip(), bold=True)
        for rule in rules:
            if rule["outcome"] != "skip":
                _print_rule(rule)
        for why, count in Counter(rule["detail"] for rule in rules if rule["outcome"] == "skip").items():
            typer.secho(f"  {_MARKS['skip']:5}{count} rules: {why}", fg=_COLOURS["skip"])
    counts = Counter(rule["outcome"] for rule in body["rules"])
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _MARKS if counts[outcome])
    typer.echo(f"\n{body['plugin']}: {said or 'nothing to check'}")


def _print_rule(rule: dict[str, Any]) -> None:
    case = rule["test"].partition("[")[2].removesuffix("]")
    text = f"  {_MARKS[rule['outcome']]:5}{rule['rule'] or rule['test']}" + (f" [{case}]" if case else "")
    typer.secho(text, fg=_COLOURS[rule["outcome"]])
    for line in rule["detail"].splitlines()[:12]:
        typer.echo(f"         {line}")


def _print_rows(table: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
