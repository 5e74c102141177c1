"""The child of ``edgeai.testing.check``: runs pytest and writes a line before and after each rule."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from edgeai.process import die_with_parent

die_with_parent()  # before pytest and what it brings are imported

import pytest  # noqa: E402

from edgeai.testing.conformance import Suite  # noqa: E402
from edgeai.testing.conformance.suite import NEEDS  # noqa: E402


class Report:
    """A pytest plugin that writes JSON lines, flushed, so that they outlive the process."""

    def __init__(self, file: TextIO, done: list[str], plugin: str) -> None:
        self._file, self._done, self._plugin = file, set(done), plugin
        self._items: dict[str, dict[str, Any]] = {}
        self._phases: dict[str, list[tuple[str, str]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what an earlier child did and what is of other plugins; note which spec each rule is of."""
        items[:] = [item for item in items if item.nodeid not in self._done and not self._is_of_another(item)]
        for item in items:
            self._items[item.nodeid] = _describe(item)

    def _is_of_another(self, item: pytest.Item) -> bool:
        suite = _suite(item)
        return bool(self._plugin and suite and suite.plugin and suite.plugin != self._plugin)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A rule begins."""
        self._phases[nodeid] = []
        self._write(self._items[nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a rule ended."""
        if report.outcome != "passed":
            self._phases[report.nodeid].append((report.outcome, _detail(report)))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A rule ended."""
        phases = self._phases.pop(nodeid)
        failed = [detail for outcome, detail in phases if outcome == "failed"]
        skipped = [detail for outcome, detail in phases if outcome == "skipped"]
        outcome = "fail" if failed else "skip" if skipped else "pass"
        detail = "\n".join(failed or skipped)
        needs = outcome == "skip" and detail.startswith(NEEDS)
        self._write({**self._items[nodeid], "outcome": outcome, "detail": detail, "needs_example": needs})

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()


def _suite(item: pytest.Item) -> type[Suite] | None:
    suite: Any = getattr(item, "cls", None)
    return suite if isinstance(suite, type) and issubclass(suite, Suite) else None


def _describe(item: pytest.Item) -> dict[str, Any]:
    suite = _suite(item)
    rule = inspect.getdoc(getattr(item, "function", None)) or ""
    return {
        "id": item.nodeid,
        "kind": (suite.part or suite.kind) if suite else "own",
        "spec": suite.spec_name() if suite else "",
        "test": item.name,
        "rule": rule.partition("\n")[0],
    }


def _detail(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longreprtext)[-2000:]


def main() -> int:
    """Run what the order on the command line says."""
    order = json.loads(sys.argv[1])
    with Path(order["report"]).open("a", encoding="utf-8") as file:
        file.write('{"news": "the kit is imported"}\n')  # what comes now is the author's
        file.flush()
        report = Report(file, order["done"], order.get("plugin", ""))
        return int(pytest.main(["-q", "-p", "no:cacheprovider", *order["arguments"]], [report]))


if __name__ == "__main__":
    sys.exit(main())
