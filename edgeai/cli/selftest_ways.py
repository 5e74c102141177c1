"""The two ends of a self-test: how its phantoms get in, and where it hears of their ends."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig, Folder, Scp, Tls
from edgeai.ports import own_address
from edgeai.selftest import AE_TITLE
from edgeai.spool import Spool
from edgeai.spool.tracing import jobs_of, unsent_on
from edgeai.tls import cause_of_files, show

_TAIL_BYTES: Final = 4_000_000
"""So much of the JSON lines is looked at: a self-test's lines are among the last."""


# --- in -----------------------------------------------------------------------------------------


class WayIn(Protocol):
    """How phantoms arrive."""

    name: str

    def send(self, path: Path) -> None:
        """Deliver one file. Raises ``EdgeaiError`` when it is not taken."""

    def tidy(self) -> None:
        """Remove what is left of them."""


def way_in(config: DeviceConfig) -> WayIn:
    """The DICOM port, or the first watched folder where there is none.

    Raises:
        EdgeaiError: ``selftest.no-way-in``.
    """
    if config.ingest.scp.enabled:
        return DicomPort(config.ingest.scp)
    if config.ingest.folders:
        return WatchedFolder(config.ingest.folders[0])
    raise EdgeaiError(
        "no image can arrive: there is neither a DICOM port nor a watched folder",
        code="selftest.no-way-in",
        remedy="enable [ingest.scp], or name a folder in [[ingest.folders]]",
    )


class DicomPort:
    """C-STORE to the device's own SCP, as a modality beside it would."""

    name = "C-STORE"

    def __init__(self, scp: Scp) -> None:
        self._scp = scp

    def send(self, path: Path) -> None:
        """Raises ``EdgeaiError``: ``selftest.tls``, ``scu.rejected`` or ``selftest.refused``."""
        from edgeai.dicom.scu import send

        scp = self._scp
        tls = _tls_to(scp.tls) if scp.tls is not None else None
        [sent] = send(
            [path],
            host=own_address(scp.host),
            port=scp.port,
            called_ae_title=scp.ae_title,
            calling_ae_title=AE_TITLE,
            tls=tls,
        )
        if not sent.accepted:
            status = "no answer" if sent.status is None else f"0x{sent.status:04X}"
            raise EdgeaiError(
                f"the phantom was not accepted by C-STORE: {status}",
                code="selftest.refused",
                remedy="`edgeai status PROFILE` says why images are refused",
            )

    def tidy(self) -> None:
        """Nothing is left."""


def _tls_to(tls: Tls) -> ssl.SSLContext:
    """To the device's own port: its own certificate is the one to expect, valid now, and the one to show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is called by its address; exactly this certificate is wanted
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cafile=str(tls.certificate))
        show(context, str(tls.certificate), tls.key)
    except (OSError, ssl.SSLError) as error:
        cause = cause_of_files(error, ca=None, certificate=tls.certificate, key=tls.key)
        raise EdgeaiError(
            f"the certificate of the DICOM port cannot be used: {cause.text}",
            code="selftest.tls",
            remedy=f"{cause.remedy}; run the self-test as the service's user",
        ) from error
    return context


class WatchedFolder:
    """A file that appears in the folder under its final name at once."""

    name = "watched folder"

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names: list[str] = []

    def send(self, path: Path) -> None:
        """Raises ``EdgeaiError``: ``selftest.refused``."""
        target = self._folder.path / f"edgeai-selftest-{path.stem}-{time.time_ns()}.dcm"
        part = target.with_name(f".{target.name}.part")
        try:
            part.write_bytes(path.read_bytes())
            part.rename(target)
        except OSError as error:
            raise EdgeaiError(
                f"the phantom cannot be put into the watched folder: {error.strerror}",
                code="selftest.refused",
                remedy="run the self-test as a user who may write there",
            ) from error
        self._names.append(target.name)

    def tidy(self) -> None:
        """Take the files away again, wherever the watcher has put them."""
        folder = self._folder
        places = (folder.path, folder.done_dir or folder.path / "done", folder.rejected_dir or folder.path / "rejected")
        for name in self._names:
            for place in places:
                for path in (place / name, place / f"{name}.reason"):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)


# --- out ----------------------------------------------------------------------------------------


class FarEnd(Protocol):
    """Where a self-test hears how its phantoms ended."""

    name: str

    def ends(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """(UID as it leaves, deployment) -> what arrived, of all that arrived so far."""

    def close(self) -> None:
        """Hear no more. Twice is fine."""


def far_end(config: DeviceConfig, spool: Spool) -> FarEnd:
    """The broker, the JSON lines where there is none, or what other sinks have taken from the spool.

    Raises:
        EdgeaiError: ``selftest.no-way-out``, or the broker's own codes.
    """
    if config.mqtt.enabled:
        return AtBroker(config)
    if config.jsonl is not None and config.jsonl.enabled:
        return InLines(config.jsonl.path)
    if config.sinks:
        return OutOfSpool(spool)
    raise EdgeaiError(
        "no result can leave: the profile enables no sink",
        code="selftest.no-way-out",
        remedy="enable [mqtt], [jsonl] or a sink of a plugin",
    )


class AtBroker:
    """Subscribes to the device's own self-test topic, beside the service and under a client id of its own."""

    name = "broker"

    def __init__(self, config: DeviceConfig) -> None:
        from edgeai.mqtt import connect
        from edgeai.sinks.mqtt import broker_of

        device = config.device
        own = config.mqtt.client_id or f"edgeai-{device.site}-{device.id}"
        settings = config.mqtt.model_copy(update={"client_id": f"{own}-selftest"})
        self._ends: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._guard = threading.Lock()
        self._connection = connect(broker_of(settings, site=device.site, device_id=device.id))
        try:
            self._connection.subscribe(f"edgeai/1/{device.site}/{device.id}/selftest/+", self._take)
        except EdgeaiError:
            self._connection.close()
            raise

    def _take(self, topic: str, body: bytes) -> None:
        with suppress(ValueError, TypeError, KeyError):
            end = json.loads(body)
            with self._guard:
                self._ends[(str(end["selftest"]), topic.rpartition("/")[2])] = end

    def ends(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """What came."""
        with self._guard:
            return dict(self._ends)

    def close(self) -> None:
        """Leave the broker."""
        self._connection.close()


class InLines:
    """Reads the end of the JSON lines file, and of the one that was rotated last."""

    name = "JSON lines"

    def __init__(self, path: Path) -> None:
        self._paths = (path.with_name(f"{path.name}.1"), path)

    def ends(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """What stands there."""
        by_deployment: dict[tuple[str, str], Mapping[str, Any]] = {}
        for path in self._paths:
            for line in _last_lines(path):
                with suppress(ValueError, TypeError, KeyError):
                    end = json.loads(line)
                    by_deployment[(str(end["selftest"]), str(end["deployment"]))] = end
        return by_deployment

    def close(self) -> None:
        """Nothing is held open."""


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            return [line for line in file.read().splitlines() if b'"selftest"' in line]
    except OSError:
        return []


class OutOfSpool:
    """Sinks of plugins cannot be read back: what they have taken is what the spool no longer holds for them."""

    name = "sinks"

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.wanted: dict[str, str] = {}
        """UID as it leaves -> UID."""

    def ends(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Jobs that are done, once nothing of any self-test waits for a sink."""
        if unsent_on(self._spool.db, "selftest/*"):
            return {}
        return {
            (masked, trace.deployment): {"ended": trace.outcome, "code": trace.code or None}
            for masked, uid in self.wanted.items()
            for trace in jobs_of(self._spool.db, uid)
            if trace.state == "done"
        }

    def close(self) -> None:
        """Nothing is held open."""
