"""The JSON lines sink: one message a line, synced to the disk before it counts as delivered."""

from __future__ import annotations

import os
from collections.abc import Sequence

from edgeai.api.errors import ConfigError, SinkFailed
from edgeai.api.hooks import hookimpl
from edgeai.api.sinks import Message, Receipt, SinkRequest, SinkSpec
from edgeai.config import Jsonl
from edgeai.sinks.checked import checked_settings, settings_of

EDGEAI_API = (1, 1)

TRIES = 3
"""Messages that may fail one after the other before the disk is taken to be full for all."""


class JsonlSink:
    """Appends to a file and rotates it by size: ``x.jsonl``, ``x.jsonl.1`` (newest rotated), ``x.jsonl.2`` ..."""

    gives_receipts = True

    def __init__(self, request: SinkRequest) -> None:
        settings = checked_settings(Jsonl, request.settings, "jsonl")
        self._is_closed = False
        self._path = settings.path
        if self._path.is_dir():
            text = f"{self._path} is a folder"
            raise ConfigError(text, code="config.options", remedy="name a file as the path of JSON lines")
        self._max_bytes = settings.max_bytes
        self._keep = settings.keep

    def put(self, messages: Sequence[Message]) -> Sequence[Receipt]:
        """Append all and fsync. Status messages are the broker's affair and are left out.

        Raises:
            SinkFailed: ``sink.disk``, nothing can be written; a half-written line of an earlier crash is closed first.
                Or it was closed.
        """
        if self._is_closed:
            raise SinkFailed("this sink was closed")
        lines = [message.body + b"\n" for message in messages if message.channel != "status"]
        try:
            if lines:
                self._append(b"".join(lines))
        except OSError as error:
            written = self._one_by_one(messages) if len(lines) > 1 else []
            if not written:
                raise SinkFailed(
                    f"cannot write {self._path}: {error}",
                    code="sink.disk",
                    remedy="free space, or check the folder's rights",
                ) from error
            return written
        return [_delivered(message) for message in messages]

    def _one_by_one(self, messages: Sequence[Message]) -> list[Receipt]:
        """Where the disk does not hold all, one that is too long for what is left must not keep the others."""
        receipts, failed = [], 0
        for message in messages:
            try:
                if message.channel != "status":
                    self._append(message.body + b"\n")
                receipts.append(_delivered(message))
                failed = 0
            except OSError as error:
                failed += 1
                if failed >= TRIES:
                    break
                number, reason = message.sequence, f"cannot write {self._path}: {error}"
                receipts.append(Receipt(sequence=number, verdict="later", code="sink.disk", reason=reason))
        return receipts if any(receipt.verdict == "delivered" for receipt in receipts) else []

    def close(self) -> None:
        """Nothing is held open between calls; none may follow."""
        self._is_closed = True

    def _append(self, block: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(block) > self._max_bytes:
            self._rotate()
        # Results say which patient's image they are of, so a new file is its owner's alone. Who opens it to others
        # keeps that until it is rotated. A buffer would be written once more when it is closed.
        with open(self._path, "a+b", buffering=0, opener=_private) as file:
            size = file.seek(0, os.SEEK_END)
            if size and _last_byte(file.fileno(), size) != b"\n":
                block = b"\n" + block
            rest = memoryview(block)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), size)  # all or nothing: it is offered again
                raise

    def _rotate(self) -> None:
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)
        self._path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _delivered(message: Message) -> Receipt:
    return Receipt(sequence=message.sequence, verdict="delivered")


def _last_byte(descriptor: int, size: int) -> bytes:
    return os.pread(descriptor, 1, size - 1)


@hookimpl
def edgeai_sinks() -> tuple[SinkSpec, ...]:
    """The ``jsonl`` sink."""
    return (
        SinkSpec(
            name="jsonl",
            open=JsonlSink,
            help="results and events as JSON lines in a file",
            settings=settings_of(Jsonl),
        ),
    )
