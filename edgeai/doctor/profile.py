"""What a profile says of sinks, held to what their plugins take; the plugins are asked in a process of their own."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeai.config import DeviceConfig, Remark
from edgeai.doctor.apart import Apart
from edgeai.doctor.engines import ask_plugins


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
        takes = known[sink.kind]
        for key in sink.settings:
            if key not in takes:
                near = difflib.get_close_matches(key, list(takes), n=1)
                hint = f'; did you mean "{near[0]}"?' if near else f"; known here: {', '.join(takes) or 'none'}"
                yield Remark(where=("sinks", name, "settings", key), what=f"unknown setting{hint}")
        for key, (is_required, choices) in takes.items():
            if is_required and key not in sink.settings:
                yield Remark(where=("sinks", name, "settings"), what=f"missing: {key}")
            elif choices and key in sink.settings and sink.settings[key] not in choices:
                listed = " or ".join(map(str, choices))
                yield Remark(where=("sinks", name, "settings", key), what=f"use {listed}")
