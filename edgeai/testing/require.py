"""Skip a test whose engine or peer is absent, unless ``EDGEAI_REQUIRE`` says it must be there."""

from __future__ import annotations

import os

import pytest


def require(name: str, available: bool, reason: str) -> None:
    """Skip when ``available`` is false; fail instead when ``EDGEAI_REQUIRE`` lists ``name``.

    ``EDGEAI_REQUIRE`` is a comma-separated list (``tflite,openvino,mosquitto,dcmtk``) that CI sets, so
    that nothing is skipped there in silence.
    """
    if available:
        return
    wanted = {item.strip() for item in os.environ.get("EDGEAI_REQUIRE", "").split(",") if item.strip()}
    if name in wanted:
        pytest.fail(f"{name} is required here (EDGEAI_REQUIRE): {reason}", pytrace=False)
    pytest.skip(reason)
