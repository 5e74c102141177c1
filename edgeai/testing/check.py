"""Run the conformance kit over a plugin and say what became of each rule: ``python -m edgeai.testing.check NAME``.

The rules run in a child, which writes a line before and after each; when the child dies or hangs, that
rule is the finding, and another child goes on with the rest. The author's own ``tests/test_conformance.py``
is run where it is found (a checkout) or named; specs that it does not cover are held to what can be
asked without the author's examples.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeai.api import EdgeaiError
from edgeai.plugins import KINDS, Plugin, load

_STALL_S = 300.0
_CLASSES = {
    kind: f"{kind.capitalize()}Conformance"
    for kind in ("backend", "transform", "task", "sink", "source", "converter", "compressor")
}


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What became of one rule for one spec: ``outcome`` is pass, fail, skip, died or hung."""

    kind: str
    spec: str
    test: str
    rule: str
    outcome: str
    detail: str = ""


def check(name: str, *, tests: Path | None = None, stall_s: float = _STALL_S) -> list[RuleOutcome]:
    """Every rule that could be asked of the plugin called ``name``.

    Args:
        name: the plugin's entry point.
        tests: the author's test file or folder; by default looked for beside the plugin's package.
        stall_s: seconds without news after which a rule is taken to hang.

    Raises:
        PluginError: the plugin does not load, so that nothing can be asked of it.
    """
    plugin = load(name)
    outcomes: list[RuleOutcome] = []
    own = tests or authors_tests(plugin)
    if own is not None:
        outcomes += run_tests([str(own)], own if own.is_dir() else own.parent, stall_s)
    covered = {(outcome.kind, outcome.spec) for outcome in outcomes}
    with tempfile.TemporaryDirectory(prefix="edgeai-check-") as folder:
        text = _generic_tests(plugin, covered)
        if text:
            Path(folder, "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
            Path(folder, "test_generic.py").write_text(text, encoding="utf-8")
            outcomes += run_tests(["test_generic.py"], Path(folder), stall_s)
    return outcomes


def authors_tests(plugin: Plugin) -> Path | None:
    """``tests/test_conformance.py`` beside the plugin's package or module, where it runs from a checkout."""
    spec = find_spec(plugin.info.module)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    depth = plugin.info.module.count(".") + (1 if origin.name == "__init__.py" else 0)
    candidate = origin.parents[depth] / "tests" / "test_conformance.py"
    return candidate if candidate.is_file() else None


def _generic_tests(plugin: Plugin, covered: set[tuple[str, str]]) -> str:
    """A test module with one class for each spec that the author's tests leave out."""
    classes = []
    for kind in KINDS:
        for spec in plugin.specs(kind):
            if kind in _CLASSES and (kind, spec.name) not in covered:
                title = f"Test{kind.capitalize()}{re.sub('[^a-z0-9]', '_', spec.name)}"
                body = f"    plugin = {plugin.info.name!r}\n    {kind} = {spec.name!r}\n"
                # Which frames it must take is the author's to say; without that, it may refuse any.
                body += "    accepts = ()\n" if kind == "transform" else ""
                classes.append(f"class {title}(conformance.{_CLASSES[kind]}):\n{body}")
    return "from edgeai.testing import conformance\n\n" + "\n\n".join(classes) if classes else ""


# --- children ---------------------------------------------------------------------------------


def run_tests(arguments: Sequence[str], folder: Path, stall_s: float) -> list[RuleOutcome]:
    """Run pytest over ``arguments`` in ``folder``, in as many children as it takes; see ``check`` for ``stall_s``."""
    outcomes: dict[str, RuleOutcome] = {}
    with tempfile.TemporaryDirectory(prefix="edgeai-check-") as scratch:
        while True:
            report, log, before = Path(scratch, "report.jsonl"), Path(scratch, "log.txt"), len(outcomes)
            report.write_text("", encoding="utf-8")
            code = _child(arguments, folder, sorted(outcomes), report, log, stall_s)
            begun = _read(report, outcomes)
            if begun is not None:
                outcomes[begun["id"]] = _outcome(begun, *_death(code, log))
            elif code in (0, 1, 5):  # pytest: all passed, some failed, nothing was left to run
                return list(outcomes.values())
            if len(outcomes) == before:
                broken = {"kind": "plugin", "spec": "", "test": " ".join(arguments), "rule": "The tests can be run."}
                return [*outcomes.values(), _outcome(broken, *_death(code, log))]


def _child(
    arguments: Sequence[str], folder: Path, done: list[str], report: Path, log: Path, stall_s: float
) -> int | None:
    """The child's exit status, or ``None`` when it gave no news for too long and was killed."""
    order = json.dumps({"arguments": list(arguments), "done": done, "report": str(report)})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with log.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "edgeai.testing.check_child", order],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        size, news = -1, time.monotonic()
        while True:
            try:
                return child.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                if report.stat().st_size != size:
                    size, news = report.stat().st_size, time.monotonic()
                elif time.monotonic() - news > stall_s:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                    return None


def _read(report: Path, outcomes: dict[str, RuleOutcome]) -> dict[str, Any] | None:
    """Add what the report says of rules that ended; the rule that only began, if there is one, is returned."""
    begun: dict[str, Any] | None = None
    for line in report.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "outcome" in row:
            outcomes[row["id"]] = _outcome(row, row["outcome"], row["detail"])
            begun = None
        else:
            begun = row
    return begun


def _outcome(row: dict[str, Any], outcome: str, detail: str) -> RuleOutcome:
    return RuleOutcome(
        kind=row["kind"], spec=row["spec"], test=row["test"], rule=row["rule"], outcome=outcome, detail=detail
    )


def _death(code: int | None, log: Path) -> tuple[str, str]:
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    if code is None:
        return "hung", "no news for too long; killed"
    how = f"the process died of {signal.Signals(-code).name}" if code < 0 else f"the process ended with status {code}"
    return "died", f"{how}\n{said}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the plugin named; 0 when every rule passed or was skipped, 1 when not, 2 when it does not load."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeai.testing.check", description="Hold a plugin to its contract."
    )
    parser.add_argument("name")
    parser.add_argument("--tests", type=Path)
    parser.add_argument("--report", type=Path, help="write JSON here rather than to standard output")
    parser.add_argument("--stall-s", type=float, default=_STALL_S)
    given = parser.parse_args(arguments)
    body: dict[str, Any] = {"plugin": given.name, "rules": []}
    code = 0
    try:
        outcomes = check(given.name, tests=given.tests, stall_s=given.stall_s)
        body["rules"] = [asdict(outcome) for outcome in outcomes]
        code = int(any(outcome.outcome not in ("pass", "skip") for outcome in outcomes))
    except EdgeaiError as error:
        body["error"] = {"code": error.code, "message": str(error), "remedy": error.remedy}
        code = 2
    text = json.dumps(body, indent=1) + "\n"
    if given.report:
        given.report.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
