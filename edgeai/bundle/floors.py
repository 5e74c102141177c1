"""Where a device keeps its release floors: ``data_dir/releases.json``, beside the spool and not in it.

A spool can be damaged, and is then replaced by an empty one; what may run must not depend on that. The file is small
and is replaced whole: after a power cut there is the old one or the new one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.parts import Count, Record
from edgeai.bundle.releases import Floor, Numbered, raised
from edgeai.bundle.strict_json import read_object
from edgeai.durable import locked, replace_file

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig

FLOORS_NAME: Final = "releases.json"
_SCHEMA: Final = 1
_MAX_BYTES: Final = 4 << 20


class _Entry(Record, frozen=True, kw_only=True):
    release: Count
    digest: Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
    since: str


class _Content(Record, frozen=True, kw_only=True):
    schema: int
    floors: dict[str, _Entry]


class Floors:
    """The floors of one device, read whenever they are asked for: other processes raise them too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_device(cls, config: DeviceConfig) -> Floors:
        """Of the device that has this profile."""
        return cls(config.device.data_dir / FLOORS_NAME)

    def of(self, name: str) -> Floor | None:
        """The floor of a model's name, if there is one.

        Raises:
            BundleRejected: ``bundle.floors-unreadable``.
        """
        entry = self._read().floors.get(name)
        return Floor(release=entry.release, digest=entry.digest, since=entry.since) if entry else None

    def raise_to(self, bundle: Numbered) -> int | None:
        """Note that this bundle gave a result; the new floor, if it rose. It is on the disk when this returns.

        Raises:
            BundleRejected: ``bundle.floors-unreadable``; the file is left as it is.
            OSError: it cannot be written.
        """
        if not bundle.release:
            return None
        with locked(self.path.with_suffix(".lock")):
            content = self._read()
            entry = content.floors.get(bundle.name)
            floor = Floor(release=entry.release, digest=entry.digest, since=entry.since) if entry else None
            risen = raised(bundle, floor, datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"))
            if risen is None or risen == floor:
                return None
            entry = _Entry(release=risen.release, digest=risen.digest, since=risen.since)
            self._write(_Content(schema=_SCHEMA, floors={**content.floors, bundle.name: entry}))
        return risen.release

    def _read(self) -> _Content:
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return _Content(schema=_SCHEMA, floors={})
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        try:
            read_object(data)
            content = msgspec.json.decode(data, type=_Content, strict=True)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise self._unreadable(str(error)) from error
        if content.schema != _SCHEMA:
            raise self._unreadable(f"it has schema {content.schema}, this edgeai reads {_SCHEMA}")
        return content

    def _write(self, content: _Content) -> None:
        data = msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=2) + b"\n"
        replace_file(self.path, data)

    def _unreadable(self, why: str) -> BundleRejected:
        return BundleRejected(
            f"{self.path} cannot be read, so that nobody knows which releases gave results here: {why}",
            code="bundle.floors-unreadable",
            remedy="put it back from a backup; or remove it, and any release that is signed well enough runs again",
        )
