"""What the demo shows: a table that grows as results arrive, pictures, and a summary that is checked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from edgeai.dicom.scu import Sent

_STAGES = {
    "queue": "wait",
    "header": "header",
    "decode": "decode",
    "transform": "prep.",
    "run": "run",
    "total": "total",
}
_FEW_STAGES = {"decode": "decode", "total": "total"}
_WIDE_COLUMNS = 108
"""Terminal width from which every stage fits."""
_NAME_COLUMNS = 26


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
        self._stages = _STAGES if console.width >= _WIDE_COLUMNS else _FEW_STAGES
        self._table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
        columns = {"says": 4, "looks like": 10, "fits": 4, "prob.": 5, "engine": 12}
        columns |= dict.fromkeys(self._stages.values(), 6)
        room = console.width - sum(width + 1 for width in columns.values())
        self._table.add_column("instance", no_wrap=True, width=min(_NAME_COLUMNS, max(8, room)))
        for name, width in columns.items():
            justify: Literal["left", "right"] = "right" if name in self._stages.values() else "left"
            self._table.add_column(name, justify=justify, no_wrap=True, width=width)
        self._table.caption = (
            "says: Modality in the header; fits: whether the picture agrees with it; stages in milliseconds"
        )

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
        if result["result_id"] in (known["result_id"] for known in self._results.values()):
            return
        uid = result["instance"]["sop_instance_uid"]
        self._results[uid] = result
        self._table.add_row(*self._row(uid, result))

    @property
    def is_complete(self) -> bool:
        """Whether every instance that was acknowledged has its result."""
        return bool(self._sent or self._refused) and set(self._sent) <= set(self._results)

    @property
    def all_well(self) -> bool:
        """Complete, nothing refused, every run completed and every picture fits its header."""
        return (
            self.is_complete
            and not self._refused
            and all(_agreement(result) is True for result in self._results.values())
        )

    def draw(self, folder: Path) -> int:
        """One overlay picture an instance into ``folder``; how many."""
        from edgeai.api.results import Result
        from edgeai.cli.overlay import Overlays

        folder.mkdir(parents=True, exist_ok=True)
        overlays = Overlays(folder)
        for uid, result in self._results.items():
            overlays.draw(self._paths[uid], Result.from_dict(result))
        return len(self._results)

    def summarise(self, pictures: int, folder: Path, seconds: float) -> None:
        """The last lines of the demo."""
        agreeing = sum(_agreement(result) is True for result in self._results.values())
        say = self._console.print
        say(f"\n{len(self._sent)} instances acknowledged, {len(self._results)} results received, {agreeing} agree")
        for sent in self._again:
            say(f"  {sent.path.name}: an instance already known, acknowledged and not run twice")
        for sent in self._refused:
            say(f"  [red]{sent.path.name}: refused with status {_hex(sent.status)}[/]")
        for uid in set(self._sent) - set(self._results):
            say(f"  [red]{self._sent[uid].path.name}: no result[/]")
        engines = {f"{r['engine']['engine']} on {r['engine']['device']}" for r in self._results.values() if r["engine"]}
        models = {
            f"{r['model']['name']} {r['model']['version']} {r['model']['digest'][:19]}" for r in self._results.values()
        }
        say(f"engine {', '.join(sorted(engines)) or 'none'}; model {', '.join(sorted(models)) or 'none'}")
        say(f"{pictures} pictures in {folder}/, {seconds:.1f} s in all")

    def _row(self, uid: str, result: dict[str, Any]) -> list[str]:
        name = self._paths[uid].name
        engine = f"{result['engine']['backend']}/{result['engine']['device']}" if result["engine"] else ""
        times = [f"{result['timings_ms'].get(stage, 0.0):.1f}" for stage in self._stages]
        if result["outcome"] != "completed":
            why = f"[red]{result['outcome']}: {result['reason']['code']}[/]"
            return [name, result["instance"]["modality"], why, "", "", engine, *times]
        top = _top(result)
        agree = {True: "[green]yes[/]", False: "[red]NO[/]", None: ""}[_agreement(result)]
        return [
            name,
            result["instance"]["modality"],
            top["label"],
            agree,
            f"{top['probability']:.3f}",
            engine,
            *times,
        ]


def _by_instance(paths: Sequence[Path]) -> dict[str, Path]:
    """SOP Instance UID -> the first file that holds it: results may arrive before the sender has its answer."""
    from edgeai.dicom.header import read_header

    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(read_header(path).instance.sop_instance_uid, path)
    return found


def _top(result: dict[str, Any]) -> dict[str, Any]:
    classes = [f for f in result["findings"] if f["kind"] == "class" and f["frame_number"] is None]
    return max(classes, key=lambda finding: float(finding["probability"]))


def _agreement(result: dict[str, Any]) -> bool | None:
    """Whether the picture fits its header; ``None`` when the model does not say."""
    for finding in result["findings"]:
        if finding["kind"] == "agreement" and finding["frame_number"] is None:
            return bool(finding["present"])
    return None


def _hex(status: int | None) -> str:
    return "none" if status is None else f"0x{status:04X}"
