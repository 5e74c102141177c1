"""OpenVINO itself: loading it without its telemetry, and the devices it sees."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeai.api import BackendUnavailable, Device

AUTO = "AUTO"
_BEST_FIRST = ("GPU", "NPU", "CPU")
_INSTALL = "pip install edgeai-openvino"
_IMPORTING = threading.Lock()
_NODES = {"GPU": ("/dev/dri", "renderD*"), "NPU": ("/dev/accel", "accel*")}


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Make importing these modules fail inside the block; those already imported are left alone."""
    table: dict[str, Any] = sys.modules
    hidden = [name for name in modules if name not in table]
    table.update(dict.fromkeys(hidden))  # None is how Python says "not importable"
    try:
        yield
    finally:
        for name in hidden:
            if table.get(name) is None:
                table.pop(name, None)


@functools.cache
def load() -> Any:
    """Import ``openvino``.

    Its conversion tools are kept out: importing them sends a usage event over the network, which no device
    should, and takes a third of the import's time. The engine runs without them.

    Raises:
        BackendUnavailable: not installed, or its import fails; the import's own words are kept.
    """
    if "openvino" not in sys.modules and importlib.util.find_spec("openvino") is None:
        raise BackendUnavailable("openvino is not installed", code="backend.engine-missing", remedy=_INSTALL)
    try:
        with _IMPORTING, without("openvino.tools.ovc", "openvino_telemetry"):
            return importlib.import_module("openvino")
    except Exception as error:
        raise BackendUnavailable(
            f"{describe()} does not load: {error}", code="backend.engine-broken", remedy="reinstall openvino"
        ) from error


def describe() -> str:
    """``openvino 2026.4.1``; empty when it is not installed. Imports nothing of it."""
    try:
        return f"openvino {importlib.metadata.version('openvino')}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def probe() -> tuple[Device, ...]:
    """The devices that OpenVINO lists, GPU before NPU before CPU, then ``AUTO``. Never raises."""
    try:
        return _devices(load().Core())
    except Exception:  # noqa: BLE001  a driver may throw anything; explain() says what
        return ()


def _devices(core: Any) -> tuple[Device, ...]:
    names = sorted(core.available_devices, key=_rank)
    devices = tuple(Device(name=name, description=_description(core, name)) for name in names)
    if not devices:
        return ()
    return (*devices, Device(name=AUTO, description="OpenVINO chooses among the above and does not say which"))


def _rank(name: str) -> tuple[int, str]:
    kind = name.partition(".")[0]
    return (_BEST_FIRST.index(kind) if kind in _BEST_FIRST else len(_BEST_FIRST), name)


def _description(core: Any, name: str) -> str:
    try:
        return " ".join(str(core.get_property(name, "FULL_DEVICE_NAME")).split())
    except RuntimeError:
        return ""


def explain() -> str:
    """Why there is no device, or none for hardware that this machine shows; in OpenVINO's own words."""
    try:
        core = load().Core()
        names = {name.partition(".")[0] for name in core.available_devices}
    except BackendUnavailable as error:
        return str(error)
    except Exception as error:  # noqa: BLE001
        return f"{describe()} does not start: {error}"
    if not names:
        return f"{describe()} lists no device"
    return "; ".join(
        f"{kind}: {_refusal(core, kind)}"
        for kind, (folder, pattern) in _NODES.items()
        if kind not in names and any(Path(folder).glob(pattern))
    )


def _refusal(core: Any, kind: str) -> str:
    try:
        core.get_property(kind, "FULL_DEVICE_NAME")
    except RuntimeError as error:
        return " ".join(str(error).split())
    return "not listed"
