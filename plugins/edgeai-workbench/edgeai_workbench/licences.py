"""Whether a card's licence is one that a machine can read: an SPDX expression, or ``proprietary``."""

from __future__ import annotations

from typing import Final

PROPRIETARY: Final = "proprietary"


def licence_notes(licence: str) -> tuple[str, ...]:
    """What is said of words that are no SPDX expression; nothing where nobody here can tell."""
    try:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    except ImportError:  # before packaging 24.2
        return ()
    if licence == PROPRIETARY:
        return ()
    try:
        canonicalize_license_expression(licence)
    except InvalidLicenseExpression:
        known = "an SPDX identifier (Apache-2.0), LicenseRef-NAME, or proprietary"
        return (f"licence {licence!r} is none that a bill of materials can name: write {known}",)
    return ()
