"""The child of ``edgeai.testing.check``: runs pytest and writes a line before and after each rule."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest

from edgeai.testing.conformance import Suite


class Report:
    """A pytest plugin that writes JSON lines, flushed, so that they outlive the process."""

    def __init__(self, file: TextIO, done: list[str]) -> None:
        self._file, self._done = file, set(done)
        self._items: dict[str, dict[str, Any]] = {}
        self._phases: dict[str, list[tuple[str, str]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what an earlier child did, and note which spec each rule is of."""
        items[:] = [item for item in items if item.nodeid not in self._done]
        for item in items:
            self._items[item.nodeid] = _describe(item)

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
        self._write({**self._items[nodeid], "outcome": outcome, "detail": "\n".join(failed or skipped)})

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()


def _describe(item: pytest.Item) -> dict[str, Any]:
    suite: Any = getattr(item, "cls", None)
    of_kit = isinstance(suite, type) and issubclass(suite, Suite)
    rule = inspect.getdoc(getattr(item, "function", None)) or ""
    return {
        "id": item.nodeid,
        "kind": suite.kind if of_kit else "own",
        "spec": suite.spec_name() if of_kit else "",
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
        return int(pytest.main(["-q", "-p", "no:cacheprovider", *order["arguments"]], [Report(file, order["done"])]))


if __name__ == "__main__":
    sys.exit(main())
