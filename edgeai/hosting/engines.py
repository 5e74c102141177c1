"""Backends, and the sessions that they open, as the host has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from edgeai.api.errors import ModelRejected
from edgeai.api.specs import Device, OpenRequest, Session
from edgeai.api.tensors import Tensors
from edgeai.hosting.faults import HOSTS_OWN, Feed, PluginInfo, broken, fault, hold_sound, hosted_call, laid_on
from edgeai.hosting.kinds import Kind, Maker, options, require_methods, settings
from edgeai.hosting.raised import unsound_failure


class HostedSession:
    """See ``Session``."""

    __slots__ = ("_info", "_session", "_step", "close", "run")

    def __init__(self, info: PluginInfo, step: str, session: Session) -> None:
        self._info, self._step, self._session = info, step, session
        self.run: Callable[[Tensors], Tensors] = hosted_call(info, f"{step}: run", session.run, unsound=unsound_failure)
        self.close: Callable[[], None] = hosted_call(info, f"{step}: close", session.close)

    @property
    def device(self) -> str:
        """The device that was asked for."""
        with laid_on(self._info, f"{self._step}: device"):
            return self._session.device

    @property
    def engine(self) -> str:
        """The engine's name and version, where the session says."""
        with laid_on(self._info, f"{self._step}: engine"):
            return str(getattr(self._session, "engine", ""))

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Outputs in order; an error of the host's own iterable is not laid on the plugin."""
        feed = Feed(inputs)
        try:
            yield from self._session.stream(feed)
        except HOSTS_OWN as error:
            if error is not feed.error:
                hold_sound(self._info, f"{self._step}: stream", error, unsound_failure)
            raise
        except BaseException as error:
            if feed.error is not None and not isinstance(feed.error, StopIteration):
                raise feed.error from None
            raise fault(self._info, f"{self._step}: stream", error) from error


def _devices(info: PluginInfo, what: str, devices: Any) -> Sequence[Device]:
    if not isinstance(devices, Sequence) or not all(isinstance(device, Device) for device in devices):
        raise broken(info, f"{what}: probe", "did not return a sequence of Device")
    return tuple(devices)


def _session(info: PluginInfo, what: str, session: Any, request: OpenRequest) -> Session:
    require_methods(info, f"{what}: open", session, "run", "stream", "close")
    hosted = HostedSession(info, what, session)
    if hosted.device != request.device:
        device = hosted.device
        hosted.close()
        raise broken(info, f"{what}: open", f"asked for device {request.device!r}, opened {device!r}")
    return hosted


BACKEND = Kind(
    "backend",
    {"probe": Maker(_devices), "open": Maker(_session, (options(ModelRejected, "backend.options"), settings))},
    ("engine", "explain", "describe", "outline"),
)
