"""Cases that are one image: a copy shows nothing that the first one did not, and an interval would count it anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.dicom.content import ContentDigest
from edgeai.dicom.header import read_header
from edgeai.dicom.pixels import read_frames

_MOST_NAMED: Final = 5


def refuse_copies(images: Iterable[Path]) -> None:
    """Held to one another by content, by SOP Instance UID and by decoded pixels; what cannot be read counts as it is.

    Raises:
        ConfigError: ``config.case-twice``.
    """
    seen: dict[tuple[str, str], Path] = {}
    copies: list[str] = []
    for path in images:
        same = [(what, first) for what, mark in _marks(path) if (first := seen.setdefault((what, mark), path)) != path]
        if same:
            what, first = same[0]
            copies.append(f"{path.name} has the {what} of {first.name}")
    if copies:
        more = f", and {len(copies) - _MOST_NAMED} more" if len(copies) > _MOST_NAMED else ""
        raise ConfigError(
            f"one image is several cases: {', '.join(copies[:_MOST_NAMED])}{more}",
            code="config.case-twice",
            remedy="name each image once in cases.csv: a copy says nothing new of the model",
        )


def _marks(path: Path) -> Iterator[tuple[str, str]]:
    """What two files have in common where they are one image: kind and value."""
    try:
        yield "content", ContentDigest.of_file(path).result()
        header = read_header(path)
        if header.instance.sop_instance_uid:
            yield "SOP Instance UID", header.instance.sop_instance_uid
        summed = hashlib.sha256()
        for frame in read_frames(path, header=header):
            summed.update(f"{frame.pixels.shape}{frame.pixels.dtype.str}".encode())
            summed.update(frame.pixels.tobytes())
        yield "pixels", summed.hexdigest()
    except (EdgeaiError, OSError):  # the model will withhold its answer, which is not right
        return


__all__ = ["refuse_copies"]
