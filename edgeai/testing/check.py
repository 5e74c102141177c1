"""Run the conformance kit over a plugin and say what became of each rule: ``python -m edgeai.testing.check NAME``.

Nothing of the plugin is imported here. It is loaded, and its rules run, in children, which write a line before and
after each rule; when a child dies or hangs, that rule is the finding, and another child goes on with the rest. The
author's own ``test_conformance.py`` is run where it is found (a checkout, an installed package that ships it) or
named; specs that it does not cover are held to what can be asked without the author's examples.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeai.api import EdgeaiError, PluginConflict, PluginError, PluginFault, PluginIncompatible, PluginNotFound
from edgeai.testing.children import Row, how_it_ended, run_child
from edgeai.testing.loads import SHIPPED, Load, load_apart

STALL_S = 300.0
_ERRORS = {error.default_code: error for error in (PluginNotFound, PluginIncompatible, PluginConflict, PluginFault)}
_CLASSES = {
    kind: f"{kind.capitalize()}Conformance"
    for kind in ("backend", "transform", "task", "judge", "sink", "source", "converter", "compressor")
}
_SPEC_OF_PART = {"judge": "task"}
"""What has rules of its own beside its spec's -> the kind of that spec."""


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What became of one rule for one spec.

    Attributes:
        kind: of the spec; ``judge`` of what a task brings for the build host.
        outcome: pass, fail, died, hung, or skip: it was not asked, so it is not held.
        detail: why.
        needs_example: of one that was skipped: the author has given nothing to ask it with.
    """

    kind: str
    spec: str
    test: str
    rule: str
    outcome: str
    detail: str = ""
    needs_example: bool = False


def _unheard(outcome: RuleOutcome) -> None:
    """Nobody listens."""


def check(
    name: str,
    *,
    tests: Path | None = None,
    stall_s: float = STALL_S,
    on_outcome: Callable[[RuleOutcome], None] = _unheard,
) -> list[RuleOutcome]:
    """Every rule that could be asked of the plugin called ``name``.

    Args:
        name: the plugin's entry point.
        tests: the author's test file or folder; by default looked for beside the plugin's package, and in it.
        stall_s: seconds without news after which a rule is taken to hang; loading the plugin is one.
        on_outcome: told each outcome as soon as it is known.

    Raises:
        PluginError: the plugin does not load, so that nothing can be asked of it.
    """
    [load] = load_apart([name], limit_s=stall_s)
    if load.error is not None:
        kind = _ERRORS.get(load.error["code"], PluginFault)
        raise kind(load.error["message"], code=load.error["code"], remedy=load.error["remedy"])
    if load.ending is not None:
        died = RuleOutcome(
            kind="plugin", spec="", test="load", rule="The plugin loads.", outcome=load.ending[0], detail=load.ending[1]
        )
        on_outcome(died)
        return [died]
    with tempfile.TemporaryDirectory(prefix="edgeai-check-") as scratch:
        return _ask(load, tests, Path(scratch), stall_s, on_outcome)


def _ask(
    load: Load, tests: Path | None, scratch: Path, stall_s: float, on_outcome: Callable[[RuleOutcome], None]
) -> list[RuleOutcome]:
    """The author's tests, then the kit's own for the specs that these leave out."""
    (scratch / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
    # Without this, pytest would take the configuration of whatever project the folder lies in.
    alone = ["-c", str(scratch / "pytest.ini")]
    outcomes: list[RuleOutcome] = []
    own = tests or (Path(load.tests) if load.tests else None)
    if own is not None:
        folder = own if own.is_dir() else own.parent
        arguments = [*(alone if folder.name == SHIPPED else []), str(own)]
        outcomes += run_tests(arguments, folder, stall_s, plugin=load.name, on_outcome=on_outcome)
    text = _generic_tests(load, {(outcome.kind, outcome.spec) for outcome in outcomes})
    if text:
        generic = scratch / "test_generic.py"
        generic.write_text(text, encoding="utf-8")
        outcomes += run_tests([*alone, str(generic)], scratch, stall_s, on_outcome=on_outcome)
    return outcomes


def _generic_tests(load: Load, covered: set[tuple[str, str]]) -> str:
    """A test module with one class for each spec that the author's tests leave out."""
    classes = []
    for kind, specs in (*load.provides.items(), ("judge", load.judged)):
        for spec in specs:
            if kind in _CLASSES and (kind, spec) not in covered:
                title = f"Test{kind.capitalize()}{re.sub('[^a-z0-9]', '_', spec)}"
                body = f"    plugin = {load.name!r}\n    {_SPEC_OF_PART.get(kind, kind)} = {spec!r}\n"
                # Which frames it must take is the author's to say; without that, it may refuse any.
                body += "    accepts = ()\n" if kind == "transform" else ""
                classes.append(f"class {title}(conformance.{_CLASSES[kind]}):\n{body}")
    return "from edgeai.testing import conformance\n\n" + "\n\n".join(classes) if classes else ""


def run_tests(
    arguments: Sequence[str],
    folder: Path,
    stall_s: float,
    *,
    plugin: str = "",
    on_outcome: Callable[[RuleOutcome], None] = _unheard,
) -> list[RuleOutcome]:
    """Run pytest over ``arguments`` in ``folder``, in as many children as it takes; see ``check``.

    Args:
        arguments: for pytest.
        folder: where it runs.
        stall_s: as in ``check``.
        plugin: leave out the kit's classes of other plugins, where several share a file of tests.
        on_outcome: as in ``check``.
    """
    outcomes: dict[str, RuleOutcome] = {}

    def ended(row: Row, outcome: str, detail: str, needs_example: bool = False) -> None:
        facts = {name: row[name] for name in ("kind", "spec", "test", "rule")}
        outcomes[row["id"]] = RuleOutcome(**facts, outcome=outcome, detail=detail, needs_example=needs_example)
        on_outcome(outcomes[row["id"]])

    while True:
        before, begun = len(outcomes), list[Row]()

        def heard(row: Row, begun: list[Row] = begun) -> None:
            if "id" not in row:
                return
            begun[:] = [] if "outcome" in row else [row]
            if "outcome" in row:
                ended(row, row["outcome"], row["detail"], row["needs_example"])

        order = {"arguments": list(arguments), "done": sorted(outcomes), "plugin": plugin}
        code, printed = run_child("edgeai.testing.check_child", order, folder=folder, stall_s=stall_s, on_row=heard)
        if begun:
            ended(begun[0], *how_it_ended(code, printed, stall_s))
        elif code in (0, 1, 5):  # pytest: all passed, some failed, nothing was left to run
            return list(outcomes.values())
        if len(outcomes) == before:
            broken = {"kind": "plugin", "spec": "", "test": " ".join(arguments), "rule": "The tests can be run."}
            ended({**broken, "id": ""}, *how_it_ended(code, printed, stall_s))
            return list(outcomes.values())


def summary(outcomes: Sequence[RuleOutcome]) -> dict[str, int]:
    """How many rules there are, are held, are broken, need examples, and do not apply here."""
    counts = Counter(outcome.outcome for outcome in outcomes)
    need = sum(outcome.needs_example for outcome in outcomes)
    return {
        "rules": len(outcomes),
        "held": counts["pass"],
        "broken": counts["fail"] + counts["died"] + counts["hung"],
        "need_examples": need,
        "do_not_apply": counts["skip"] - need,
    }


def report(name: str, outcomes: Sequence[RuleOutcome], error: EdgeaiError | None = None) -> dict[str, Any]:
    """What a check gave, for JSON."""
    rules = [asdict(outcome) for outcome in outcomes]
    body: dict[str, Any] = {"plugin": name, "summary": summary(outcomes), "rules": rules}
    if error is not None:
        body["error"] = {"code": error.code, "message": str(error), "remedy": error.remedy}
    return body


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the plugin named; 0 when no rule is broken, 1 when one is, 2 when the plugin does not load."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeai.testing.check", description="Hold a plugin to its contract."
    )
    parser.add_argument("name")
    parser.add_argument("--tests", type=Path)
    parser.add_argument("--report", type=Path, help="write JSON here rather than to standard output")
    parser.add_argument("--stall-s", type=float, default=STALL_S)
    given = parser.parse_args(arguments)
    outcomes: list[RuleOutcome] = []
    error: PluginError | None = None
    try:
        outcomes = check(given.name, tests=given.tests, stall_s=given.stall_s)
    except PluginError as refused:
        error = refused
    text = json.dumps(report(given.name, outcomes, error), indent=1) + "\n"
    if given.report:
        given.report.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 2 if error else int(summary(outcomes)["broken"] > 0)


if __name__ == "__main__":
    sys.exit(main())
