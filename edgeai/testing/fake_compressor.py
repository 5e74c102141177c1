"""A compressor without Keras: it works on the zips that ``write_fake_model`` makes, or must be caught."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from edgeai.api import Compressed, CompressionFailed, CompressorSpec, CompressRequest, OptionSpec

_ENTRY, _TIME = "model.json", (1980, 1, 1, 0, 0, 0)
_calls = count()


def _content(path: Path, how: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            content: dict[str, Any] = json.loads(archive.read(_ENTRY))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        if how == "gullible":
            return {"weights": [1.0]}
        raise CompressionFailed(f"{path.name} is not a fake model: {error}", remedy="see write_fake_model") from error
    return content


def _compress(request: CompressRequest, how: str) -> Compressed:
    digits = request.options.get("digits", 1)
    if not isinstance(digits, int) or digits < 0:
        raise CompressionFailed(f"digits is {digits!r}", remedy="a whole number")
    content = _content(request.model, how)
    rounded = [round(weight / 3, digits) + (next(_calls) if how == "drifts" else 0) for weight in content["weights"]]
    with zipfile.ZipFile(request.output, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_ENTRY, _TIME), json.dumps({**content, "weights": rounded}))
    if how == "prints":
        print("the fake was told to print")
    if how == "litters":
        request.output.with_name("litter.txt").write_text("left beside the output", encoding="utf-8")
    facts = {"weights_before": float(len(content["weights"])), "weights": float(len(rounded))}
    return Compressed(model=request.output, notes=(f"rounded to {digits} digits",), facts=facts)


def compressor(name: str, how: str = "") -> CompressorSpec:
    """A fake compressor: works, or ``litters``, ``drifts`` from run to run, or is ``gullible``."""
    compress: Callable[[CompressRequest], Compressed] = lambda request: _compress(request, how)  # noqa: E731
    options = (OptionSpec(name="digits", help="digits to keep", default=1),)
    return CompressorSpec(name=name, compress=compress, options=options, help=f"Rounds; {how or 'works'}.")
