"""Plugins loaded in a process of their own, which may die of it: what each provides, or why it does not load."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeai.api import EdgeaiError
from edgeai.plugins import KINDS, Plugin, load
from edgeai.process import die_with_parent
from edgeai.testing.children import Row, how_it_ended, run_child

LIMIT_S = 300.0
SHIPPED = "conformance"
"""The folder of a package in which its tests of conformance ship, with their examples."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What loading one plugin gave.

    Attributes:
        name: the plugin's entry point.
        provides: the names of its specs by kind.
        judged: the names of its tasks that bring a judge.
        tests: the author's tests of conformance, where they are found.
        error: ``code``, ``message`` and ``remedy``, where it does not load.
        ending: where the process died or hung of it: ``died`` or ``hung``, and how.
    """

    name: str
    provides: Mapping[str, Sequence[str]] = field(default_factory=dict)
    judged: Sequence[str] = ()
    tests: str | None = None
    error: Mapping[str, Any] | None = None
    ending: tuple[str, str] | None = None

    @property
    def problem(self) -> str:
        """Why it does not load, in a line; empty when it does."""
        if self.ending is not None:
            how = " ".join(self.ending[1].split())
            return f"its import hung: {how}" if self.ending[0] == "hung" else f"of its import {how}"
        return str(self.error["message"]) if self.error is not None else ""


def load_apart(names: Sequence[str], *, limit_s: float = LIMIT_S) -> Iterator[Load]:
    """Each of the plugins, loaded in as few children as survive it; ``limit_s`` is the longest that one may take."""
    left = list(names)
    while left:
        rows: list[Row] = []
        order = {"names": left}
        code, printed = run_child(__name__, order, folder=Path.cwd(), stall_s=limit_s, on_row=rows.append)
        for row in rows:
            yield Load(**row)
        if len(rows) < len(left):
            yield Load(name=left[len(rows)], ending=how_it_ended(code, printed, limit_s))
        left = left[len(rows) + 1 :]


def authors_tests(plugin: Plugin) -> Path | None:
    """The author's ``test_conformance.py``: in ``tests/`` of a checkout, in ``conformance/`` of the package."""
    top = plugin.info.module.partition(".")[0]
    if top == "edgeai":  # the core's own sinks; what lies beside an installed core is somebody else's
        return Path(__file__).parent / SHIPPED / "test_conformance.py"
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    places = [folder / "tests"]
    if spec.submodule_search_locations is not None:
        places = [folder.parent / "tests", folder / SHIPPED]
    tests = [place / "test_conformance.py" for place in places]
    return next((test for test in tests if test.is_file()), None)


def _loaded(name: str) -> Row:
    try:
        plugin = load(name)
    except EdgeaiError as error:
        return {"name": name, "error": {"code": error.code, "message": str(error), "remedy": error.remedy}}
    tests = authors_tests(plugin)
    return {
        "name": name,
        "provides": {kind: [spec.name for spec in plugin.specs(kind)] for kind in KINDS if plugin.specs(kind)},
        "judged": [task.name for task in plugin.tasks if task.judge is not None],
        "tests": str(tests) if tests else None,
    }


def main() -> int:
    """The child: load what the order on the command line names, a row each."""
    die_with_parent()
    order = json.loads(sys.argv[1])
    with Path(order["report"]).open("a", encoding="utf-8") as report:
        for name in order["names"]:
            print(json.dumps(_loaded(name)), file=report, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
