"""Why an update does not come: each reason with a code of its own. What runs is never touched by any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from tuf.api import exceptions as tuf

from edgeai.api.errors import EdgeaiError

AGAIN: Final = "nothing; it is tried again. If it stays so, look at the server with `edgeai fleet check --url`"
_DISTRUST: Final = "tell who runs the repository; a cart takes nothing of it until it is in order again"


class UpdateError(EdgeaiError):
    """An update cannot be had, or is refused; what runs runs on."""

    default_code: ClassVar[str] = "update.refused"


def altered(what: str, why: str) -> UpdateError:
    """What came is not what was signed."""
    return UpdateError(f"{what} is not what was signed: {why}", code="update.altered", remedy=_DISTRUST)


def oversize(what: str, most: int) -> UpdateError:
    """More came than may."""
    return UpdateError(
        f"{what} is longer than {most} bytes, which is the most", code="update.oversize", remedy=_DISTRUST
    )


def wrong_range(path: str) -> UpdateError:
    """Another part of a file comes than was asked for."""
    return UpdateError(
        f"the server gives another part of {path} than the one asked for",
        code="update.wrong-range",
        remedy="nothing; the file is fetched whole",
    )


def of_tuf(error: Exception, asked: str, *, is_mixed: bool) -> EdgeaiError:
    """What python-tuf refused, in our words.

    Args:
        error: of a refresh or of a look for a target.
        asked: the file that was fetched last.
        is_mixed: whether that file does not bear the version that it was asked for by.
    """
    told = _cause(error)
    if told is not None:
        return told
    if isinstance(error, tuf.ExpiredMetadataError):
        return _expired(str(error))
    if isinstance(error, tuf.UnsignedMetadataError):
        return UpdateError(
            f"{asked} is not signed by enough keys that this device trusts for it",
            code="update.untrusted",
            remedy=f"look whether repository.root is of this repository; if it is, {_DISTRUST}",
        )
    if isinstance(error, tuf.DownloadLengthMismatchError):
        return UpdateError(f"{asked} is longer than it may be", code="update.oversize", remedy=_DISTRUST)
    if isinstance(error, tuf.LengthOrHashMismatchError) or (isinstance(error, tuf.BadVersionNumberError) and is_mixed):
        return UpdateError(
            f"{asked} is not of the state that the repository claims to be in: files of different states are mixed",
            code="update.mixed",
            remedy=f"nothing, where it is being published or mirrored just now; if it stays so, {_DISTRUST}",
        )
    if isinstance(error, tuf.BadVersionNumberError):
        return UpdateError(
            f"{asked} is older than what this device has seen of the repository",
            code="update.rolled-back",
            remedy=f"look whether it was put back from a copy, or a stick is an old one; if not, {_DISTRUST}",
        )
    if isinstance(error, tuf.DownloadError):
        return UpdateError(f"{asked} cannot be fetched: {error}", code="update.unreachable", remedy=AGAIN)
    return altered(asked, str(error) or type(error).__name__)


def _cause(error: Exception) -> EdgeaiError | None:
    """Our own refusal, behind whatever python-tuf made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, EdgeaiError):
            return seen
        seen = seen.__cause__
    return None


def _expired(which: str) -> UpdateError:
    """``which``: python-tuf's own words; what was asked for last may be another file than the one that ended."""
    if "timestamp.json" in which:
        return UpdateError(
            "the newest that the repository shows has ended: it is stuck, or somebody holds updates back",
            code="update.frozen",
            remedy="publish again (`edgeai fleet publish`), look at the server or stick, and at this device's clock",
        )
    return UpdateError(
        f"metadata of the repository have ended: {which}",
        code="update.expired",
        remedy="renew it (`edgeai fleet sign --renew`) and publish; look at this device's clock too",
    )


@contextlib.contextmanager
def told_of_disk(folder: Path) -> Iterator[None]:
    """An ``OSError`` of this device's own disk in one sentence.

    Raises:
        UpdateError: ``update.unwritable``.
    """
    try:
        yield
    except OSError as error:
        raise UpdateError(
            f"{error.filename or folder} cannot be written or read: {error.strerror or error}",
            code="update.unwritable",
            remedy="free space on the volume of data_dir, and let the service's user write there; it is tried again",
        ) from error
