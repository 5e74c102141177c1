"""What stands between the host and a plugin's callables: faults get a name, options are held to what is declared.

Callables are wrapped once: a spec's when the plugin is loaded, a session's when it is opened. Per call that leaves one
Python frame and a ``try``, which costs nothing until something is raised.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TypeVar

from edgeai.hosting.faults import PluginInfo, laid_on
from edgeai.hosting.kinds import Kind, hosted

__all__ = ["PluginInfo", "hosted_spec", "laid_on"]

_S = TypeVar("_S")

_HOME = MappingProxyType(
    {
        "backend": "engines",
        "transform": "imaging",
        "task": "imaging",
        "sink": "sinks",
        "source": "imaging",
        "converter": "building",
        "compressor": "building",
    }
)
"""Kind -> module here, which has it under the same name in capitals. Imported when a plugin has that kind: no role
pays for numpy or for the build host's types in vain."""


def hosted_spec(info: PluginInfo, kind: str, spec: _S) -> _S:
    """The same spec with every callable hosted, and what those open or build hosted too."""
    home: Kind = getattr(import_module(f"edgeai.hosting.{_HOME[kind]}"), kind.upper())
    return hosted(info, home, spec)
