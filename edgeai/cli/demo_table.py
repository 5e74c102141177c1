"""What the demo shows: a table that grows as results arrive, pictures, and a summary that is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from edgeai.cli.statement import NO_RESULT
from edgeai.cli.table import shortened

if TYPE_CHECKING:
    from edgeai.dicom.scu import Sent

_PARTS: Final = ("header", "decode", "transform", "run")
"""Stages that have a column; what of the total is in none of them is the rest."""
_WIDE: Final = ("wait", "header", "decode", "prep.", "run", "rest", "total")
_NARROW: Final = ("wait", "head", "dec.", "prep", "run", "rest", "all")
_WIDE_COLUMNS: Final = 100
"""Terminal width from which the long names of the stages fit."""
_NAME_COLUMNS: Final = 26
_FIXED: Final = {"says": 4, "looks like": 10, "fits": 4, "prob.": 5}
_SIDE_BY_SIDE: Final = "*"

Key = tuple[str, str]
"""(SOP Instance UID, content): what an instance is."""


class DemoTable:
    """Collects answers and results, and knows when and whether all is well."""

    def __init__(self, console: Console, paths: Sequence[Path]) -> None:
        self._console = console
        self._paths = _by_instance(paths)
        self._sent: dict[str, Sent] = {}
        self._again: list[Sent] = []
        self._refused: list[Sent] = []
        self._results: dict[str, dict[str, Any]] = {}
        self._live: Live | None = None
        self._is_wide = console.width >= _WIDE_COLUMNS
        self._table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
        stages = dict.fromkeys(_WIDE, 6) if self._is_wide else dict.fromkeys(_NARROW, 4)
        columns = _FIXED | stages
        self._name_width = min(_NAME_COLUMNS, max(8, console.width - sum(width + 1 for width in columns.values())))
        self._table.add_column("instance", no_wrap=True, width=self._name_width)
        for name, width in columns.items():
            justify: Literal["left", "right"] = "right" if name in stages else "left"
            self._table.add_column(name, justify=justify, no_wrap=True, width=width)

    def live(self) -> AbstractContextManager[object]:
        """Redraw as rows arrive, while the block runs."""
        self._live = Live(self._table, console=self._console, refresh_per_second=8)
        return self._live

    def sent(self, sent: Sent) -> None:
        """A C-STORE was answered."""
        if not sent.accepted:
            self._refused.append(sent)
        elif sent.sop_instance_uid in self._sent:
            self._again.append(sent)
        else:
            self._sent[sent.sop_instance_uid] = sent

    def received(self, result: dict[str, Any]) -> None:
        """A result arrived at the subscriber; a second delivery of the same one changes nothing."""
        if result["result_id"] in self._results:
            return
        self._results[result["result_id"]] = result
        self._table.add_row(*self._row(result))

    @property
    def is_complete(self) -> bool:
        """Whether every instance that was acknowledged has its result: one for each content of its UID."""
        arrived = Counter(_uid(result) for result in self._results.values())
        wanted = Counter(uid for uid, _ in self._paths if uid in self._sent)
        return bool(self._sent or self._refused) and all(arrived[uid] >= count for uid, count in wanted.items())

    @property
    def all_well(self) -> bool:
        """Complete, nothing refused, nothing failed, and no picture that does not fit its header."""
        outcomes = {result["outcome"] for result in self._results.values()}
        differs = any(_fits(result) is False for result in self._results.values())
        return self.is_complete and not self._refused and "failed" not in outcomes and not differs

    def draw(self, folder: Path) -> int:
        """One overlay picture an instance into ``folder``; how many."""
        from edgeai.api.results import Result
        from edgeai.cli.overlay import Overlays

        folder.mkdir(parents=True, exist_ok=True)
        overlays = Overlays(folder)
        for result in self._results.values():
            overlays.draw(self._path(result), Result.from_dict(result))
        return len(self._results)

    def summarise(self, pictures: int, folder: Path, seconds: float) -> None:
        """The last lines of the demo: what the columns mean, what came of what was sent, and by what."""
        names = _WIDE if self._is_wide else _NARROW
        total, parts = names[-1], " + ".join(names[1:-1])
        self._say("")
        self._say("says: Modality in the header. fits: whether the image agrees with it.")
        self._say(f"Milliseconds; {total} = {parts}, and wait came before.")
        if any(_is_side_by_side(result) for result in self._results.values()):
            self._say(
                f"{_SIDE_BY_SIDE} many frames side by side: the parts are sums over threads, and may exceed {total}."
            )
        self._say("")
        for line in self._outcomes():
            self._say(line)
        results = self._results.values()
        engines = {f"{r['engine']['engine']} on {r['engine']['device']}" for r in results if r["engine"]}
        models = {f"{r['model']['name']} {r['model']['version']}, {r['model']['digest'][:19]}" for r in results}
        self._say(f"model {', '.join(sorted(models)) or 'none'}")
        self._say(f"engine {', '.join(sorted(engines)) or 'none'}")
        self._say(f"{pictures} pictures in {folder}/, {seconds:.1f} s in all")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def _outcomes(self) -> Iterator[str]:
        results = self._results.values()
        acknowledged = sum(1 for uid, _ in self._paths if uid in self._sent)
        fitting = sum(_fits(result) is True for result in results)
        withheld = sum(map(_is_withheld, results))
        kept = f", {withheld} withheld" if withheld else ""
        yield f"{acknowledged} instances acknowledged, {len(results)} results received, {fitting} agree{kept}"
        for sent in self._again:
            if sum(_uid(result) == sent.sop_instance_uid for result in results) == 1:
                yield f"  {escape(sent.path.name)} again: known, so acknowledged and not run twice"
        for result in results:
            name = escape(self._path(result).name)
            if result["outcome"] != "completed":
                kept = _kept(result) if _is_withheld(result) else ""
                why = escape(result["reason"]["message"])
                yield f"  [yellow]{name}: {NO_RESULT}, which is no negative{kept}: {why}[/]"
            elif result["frames_run"] != result["frames_total"]:
                yield f"  {name}: {result['frames_run']} of {result['frames_total']} frames were run"
        for sent in self._refused:
            yield f"  [red]{escape(sent.path.name)}: refused with status {_hex(sent.status)}[/]"
        for uid in set(self._sent) - {_uid(result) for result in results}:
            yield f"  [red]{escape(self._sent[uid].path.name)}: no result came[/]"

    def _path(self, result: Mapping[str, Any]) -> Path:
        uid = _uid(result)
        exact = self._paths.get((uid, result["instance"].get("content", "")))
        return exact or next(path for (known, _), path in self._paths.items() if known == uid)

    def _row(self, result: Mapping[str, Any]) -> list[str]:
        path = self._path(result)
        name = path.name if len(path.name) <= self._name_width else shortened(path.stem, self._name_width)
        says = result["instance"]["modality"]
        times = self._times(result)
        if result["outcome"] != "completed":
            colour = "red" if result["outcome"] == "failed" else "yellow"
            return [escape(name), says, f"[{colour}]{NO_RESULT}[/]", "", "", *times]
        top = _top(result)
        fits = {True: "yes", False: "[bold magenta]NO[/]", None: ""}[_fits(result)]
        return [escape(name), says, escape(top["label"]), fits, _probability(top["probability"]), *times]

    def _times(self, result: Mapping[str, Any]) -> list[str]:
        timings: Mapping[str, float] = result["timings_ms"]
        parts = [timings.get(stage, 0.0) for stage in _PARTS]
        total = timings.get("total", 0.0)
        rest = _SIDE_BY_SIDE if _is_side_by_side(result) else self._ms(max(0.0, total - sum(parts)))
        return [self._ms(timings.get("queue", 0.0)), *map(self._ms, parts), rest, self._ms(total)]

    def _ms(self, value: float) -> str:
        """At most as wide as its column."""
        if value >= (99_999.5 if self._is_wide else 9_999.5):
            return f"{value / 1e3:.0f}s"
        return f"{value:.1f}" if value < (9_999.5 if self._is_wide else 99.95) else f"{value:.0f}"


def _by_instance(paths: Sequence[Path]) -> dict[Key, Path]:
    """Instance -> the first file that holds it: results may arrive before the sender has its answer."""
    from edgeai.dicom.content import ContentDigest
    from edgeai.dicom.header import read_header

    known: dict[Key, Path] = {}
    for path in paths:
        known.setdefault((read_header(path).instance.sop_instance_uid, ContentDigest.of_file(path).result()), path)
    return known


def _uid(result: Mapping[str, Any]) -> str:
    return str(result["instance"]["sop_instance_uid"])


def _top(result: Mapping[str, Any]) -> dict[str, Any]:
    classes = [f for f in result["findings"] if f["kind"] != "agreement" and f["frame_number"] is None]
    return max(classes, key=lambda finding: (finding["present"], finding["probability"] or 0.0))


def _probability(probability: float | None) -> str:
    if probability is None:
        return ""
    return ">.999" if 0.9995 <= probability < 1.0 else f"{probability:.3f}"


def _fits(result: Mapping[str, Any]) -> bool | None:
    """Whether the picture fits its header; ``None`` when the model or the header does not say."""
    for finding in result["findings"]:
        if finding["kind"] == "agreement" and finding["frame_number"] is None and finding["probability"] is not None:
            return bool(finding["present"])
    return None


def _is_withheld(result: Mapping[str, Any]) -> bool:
    return any(figure["withheld"] for figure in result["guard"]) and result["outcome"] == "not-applicable"


def _kept(result: Mapping[str, Any]) -> str:
    return "; the model does not speak of it" if result["engine"] else "; it was kept from the model"


def _is_side_by_side(result: Mapping[str, Any]) -> bool:
    return bool((result["frames_run"] or 0) > 1)


def _hex(status: int | None) -> str:
    return "none" if status is None else f"0x{status:04X}"
