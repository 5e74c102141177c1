"""``firmware-configs/*.toml`` -> ``DeviceConfig``: frozen, strict, and all mistakes at once.

What changes the plumbing stands here (addresses, devices, threads, deadlines); what changes the answer is in
the bundle. Relative paths are relative to the file they stand in. ``firmware-configs/README.md`` is the reference.

``tables`` and ``trust`` say what a profile may hold, ``rules`` what of it cannot be together, ``doubts`` what was
hardly meant, ``words`` how a mistake is told, ``reading`` reads a file and tells all of them.
"""

from __future__ import annotations

from edgeai.config.base import Table
from edgeai.config.doubts import InstalledBackends, Remark, doubts
from edgeai.config.files import allowing, looks_for_updates
from edgeai.config.reading import Profile, load_config, read_profile
from edgeai.config.requirements import Requirement, asked_of
from edgeai.config.tables import (
    Deployment,
    Device,
    DeviceConfig,
    Folder,
    Health,
    Ingest,
    Jsonl,
    Log,
    Mqtt,
    Peer,
    Plugins,
    Privacy,
    Repository,
    Results,
    Scp,
    Sink,
    Spool,
    Supervise,
    Tls,
    json_schema,
)
from edgeai.config.trust import Trust
from edgeai.config.updates import Updates

__all__ = [
    "Deployment",
    "Device",
    "DeviceConfig",
    "Folder",
    "Health",
    "Ingest",
    "InstalledBackends",
    "Jsonl",
    "Log",
    "Mqtt",
    "Peer",
    "Plugins",
    "Privacy",
    "Profile",
    "Remark",
    "Repository",
    "Requirement",
    "Results",
    "Scp",
    "Sink",
    "Spool",
    "Supervise",
    "Table",
    "Tls",
    "Trust",
    "Updates",
    "allowing",
    "asked_of",
    "doubts",
    "json_schema",
    "load_config",
    "looks_for_updates",
    "read_profile",
]
