"""``edgeai plugins``: what is installed, whether it keeps its contract, and a new one to begin with."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.api.errors import PluginConflict, PluginError, PluginNotFound
from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.hosting import PluginInfo
    from edgeai.testing.check import RuleOutcome
    from edgeai.testing.loads import Load

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Plugins: list them, check them against the contract, begin one."
)

_LOAD_LIMIT_S = 60.0
_MARKS = {"pass": "ok", "skip": "skip", "fail": "FAIL", "died": "DIED", "hung": "HUNG"}
_COLOURS = {"pass": "green", "skip": "yellow", "fail": "red", "died": "red", "hung": "red"}


@app.command("list")
def list_plugins(
    no_load: Annotated[
        bool, typer.Option("--no-load", help="Show the metadata alone; else each is loaded, in a process of its own.")
    ] = False,
    as_json: Annotated[bool, output.option("Print JSON.")] = False,
) -> None:
    """List the installed plugins, what each provides, and why one does not load.

    Nothing of a plugin is imported in this process; with --no-load nothing is at all: the list is that of the metadata.
    """
    from edgeai.plugins import find

    installed = find()
    loads = _loads([info.name for info in installed]) if not no_load else {}
    twice = _provided_twice(installed, loads)
    if as_json:
        rows = [{**asdict(info), **_as_json(loads.get(info.name), info, twice)} for info in installed]
        output.put(json.dumps(rows, indent=1))
        return
    title = ("name", "distribution", "version", "module", *(["provides"] if not no_load else []))
    facts = [
        (
            info.name,
            info.distribution,
            info.version,
            info.module,
            *([_provided(loads[info.name])] if not no_load else []),
        )
        for info in installed
    ]
    _print_rows([title, *facts])
    for name, loaded in loads.items():
        if loaded.problem:
            typer.secho(f"{name} does not load: {loaded.problem}", fg="red", err=True)
    for conflict in twice:
        typer.secho(f"used by none: {conflict}; {conflict.remedy}", fg="red", err=True)
    for name in [name for name, count in Counter(info.name for info in installed).items() if count > 1]:
        typer.echo(f"warning: {name!r} is provided twice and will not load; uninstall one of the two", err=True)


@app.command("check")
def check_plugin(
    name: Annotated[str, typer.Argument(help="Name of the plugin, as `edgeai plugins list` shows it.")],
    tests: Annotated[
        Path | None,
        typer.Option(help="The author's test_conformance.py; by default the one beside the plugin's module, or in it."),
    ] = None,
    stall_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds without news after which a rule, or the import, is taken to hang.")
    ] = 300.0,
    as_json: Annotated[bool, output.option("Print JSON.")] = False,
) -> None:
    """Hold a plugin to its contract, in processes of its own; the exit status is 1 when a rule is broken.

    Says what became of each rule as it goes. Runs the author's conformance tests where they are found. Specs that
    these leave out are held to the rules that need no example (an artifact, settings); the others are skipped, which
    is not held, and what to give is said.
    """
    if find_spec("pytest") is None:
        raise PluginNotFound("the conformance kit needs pytest", remedy="pip install 'edgeai[testing]'")
    from edgeai.testing.check import check, report, summary

    given, name = tests.resolve() if tests else None, _plugin_meant(name)
    try:
        outcomes = check(name, tests=given, stall_s=stall_s, on_outcome=_ignore if as_json else _Printer())
    except PluginError as error:
        if as_json:
            output.put(json.dumps(report(name, [], error), indent=1))
        raise
    if as_json:
        output.put(json.dumps(report(name, outcomes), indent=1))
    else:
        _print_summary(name, outcomes)
    if summary(outcomes)["broken"]:
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


def _plugin_meant(word: str) -> str:
    """The plugin of that name, or of that distribution; what is neither is refused by whoever looks for it."""
    from edgeai.resolving import Installed

    try:
        return Installed().plugin_called(word)
    except PluginNotFound:
        return word


def _loads(names: Sequence[str]) -> dict[str, Load]:
    """What loading each of these gives, by name."""
    from edgeai.testing.loads import load_apart

    return {loaded.name: loaded for loaded in load_apart(list(dict.fromkeys(names)), limit_s=_LOAD_LIMIT_S)}


def _provided_twice(installed: Sequence[PluginInfo], loads: Mapping[str, Load]) -> list[PluginConflict]:
    """The names that several provide, each used by none; of those that were not loaded, what their metadata says."""
    from edgeai.plugins import KINDS, conflicts

    provides = {info: loads[info.name].provides if loads else {"backend": info.backends} for info in installed}
    return [
        conflict
        for kind in KINDS
        for conflict in conflicts(
            kind, ((name, info) for info, own in provides.items() for name in own.get(kind, ()))
        ).values()
    ]


def _as_json(loaded: Load | None, info: PluginInfo, twice: Sequence[PluginConflict]) -> dict[str, Any]:
    if loaded is None:
        return {}
    problems = [loaded.problem] if loaded.problem else [str(error) for error in twice if str(info) in str(error)]
    return {"provides": dict(loaded.provides), "problem": "; ".join(problems) or None}


def _provided(loaded: Load) -> str:
    if loaded.problem:
        return "DOES NOT LOAD"
    kinds = [f"{kind} {', '.join(names[:4])}{_more(len(names) - 4)}" for kind, names in loaded.provides.items()]
    return "; ".join(kinds)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _ignore(outcome: RuleOutcome) -> None:
    """JSON is printed at the end, whole."""


class _Printer:
    """Prints what became of a rule as soon as it is known, a heading before the first of each spec."""

    def __init__(self) -> None:
        self._heading = ""

    def __call__(self, outcome: RuleOutcome) -> None:
        heading = f"{outcome.kind} {outcome.spec}".rstrip()
        if heading != self._heading:
            self._heading = heading
            typer.secho(f"\n{heading}", bold=True)
        case = outcome.test.partition("[")[2].removesuffix("]")
        text = f"  {_MARKS[outcome.outcome]:5}{outcome.rule or outcome.test}" + (f" [{case}]" if case else "")
        typer.secho(text, fg=_COLOURS[outcome.outcome])
        if outcome.outcome != "skip":
            for line in outcome.detail.splitlines()[:12]:
                typer.echo(f"         {line}")
        sys.stdout.flush()  # in a pipe, too, somebody may be waiting for it


def _print_summary(name: str, outcomes: Sequence[RuleOutcome]) -> None:
    """How many rules are held, of how many; why the others are not, and what to give so that they are asked."""
    from edgeai.testing.check import summary

    counts = summary(outcomes)
    parts = [f"{counts['held']} of {counts['rules']} rules held"]
    parts += [f"{counts['broken']} broken"] if counts["broken"] else []
    parts += [f"{counts['need_examples']} need examples"] if counts["need_examples"] else []
    parts += [f"{counts['do_not_apply']} do not apply here"] if counts["do_not_apply"] else []
    typer.echo(f"\n{name}: {', '.join(parts)}")
    for needed, title in ((True, "to be given"), (False, "not asked here")):
        reasons = Counter(
            f"{item.kind} {item.spec}: {item.detail}"
            for item in outcomes
            if item.outcome == "skip" and item.needs_example == needed
        )
        if reasons:
            typer.echo(f"{title}:")
        for why, count in reasons.items():
            typer.secho(f"  {count:3} rules  {why}", fg=_COLOURS["skip"])
    if counts["need_examples"]:
        typer.echo("give them in tests/test_conformance.py, which can ship in the plugin's package: plugins/README.md")


def _print_rows(table: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
