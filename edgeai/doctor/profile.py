"""What a profile says of sinks, held to what their plugins take; the plugins are asked in a process of their own."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeai.api.options import OptionSpec
from edgeai.config import DeviceConfig, Remark
from edgeai.doctor.apart import Apart
from edgeai.doctor.engines import ask_plugins
from edgeai.hosting.options import OptionMistake, option_mistakes


def sink_remarks(config: DeviceConfig, limit_s: float) -> Iterator[Remark]:
    """Unknown kinds, unknown and missing settings, values that are no choice; where the plugins are here and load."""
    if not config.sinks:
        return
    with tempfile.TemporaryDirectory(prefix="edgeai-check-") as folder:
        plugins = ask_plugins(Apart(config, Path(folder), limit_s))
    known = {kind: takes for answer in plugins.answers.values() for kind, takes in answer.get("settings", {}).items()}
    is_whole = not plugins.missing and not plugins.deaths and not any("error" in a for a in plugins.answers.values())
    for name, sink in config.sinks.items():
        if sink.kind in ("mqtt", "jsonl"):
            continue
        if sink.kind not in known:
            near = difflib.get_close_matches(sink.kind, list(known), n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            what = f'no plugin of plugins.allow provides a sink "{sink.kind}"{hint}'
            yield Remark(where=("sinks", name, "kind"), what=what, weight="mistake" if is_whole or near else "note")
            continue
        takes = [
            OptionSpec(name=key, help="", required=is_required, choices=tuple(choices))
            for key, (is_required, choices) in known[sink.kind].items()
        ]
        for mistake in option_mistakes(takes, sink.settings):
            yield _remark(("sinks", name, "settings"), mistake, [option.name for option in takes])


def _remark(where: tuple[str, ...], mistake: OptionMistake, names: Sequence[str]) -> Remark:
    if mistake.kind == "missing":
        return Remark(where=where, what=f"missing: {mistake.name}")
    if mistake.kind == "choice":
        return Remark(where=(*where, mistake.name), what=f"use {' or '.join(map(str, mistake.choices))}")
    hint = f'did you mean "{mistake.near}"?' if mistake.near else f"known here: {', '.join(names) or 'none'}"
    return Remark(where=(*where, mistake.name), what=f"unknown setting; {hint}")
