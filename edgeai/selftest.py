"""The self-test's identity: how an image that nobody took is told from a patient's, and what leaves of its end.

An instance is the self-test's when its UIDs are below a root of their own and its equipment says so too. Its end goes
out on a channel of its own, ``selftest/<deployment>``, and is no result: it has no findings, so that no reader of
results can take it for one.
"""

from __future__ import annotations

import json
from typing import Final

from edgeai.api.instances import InstanceRef
from edgeai.api.results import Result

UID_ROOT: Final = "2.25.170651858065393218184391646505235180343"
"""Below it stand the UIDs of self-tests and no others (PS3.5 B.2)."""
MANUFACTURER: Final = "edgeai"
MODEL_NAME: Final = "edgeai selftest"
AE_TITLE: Final = "EDGEAI-SELFTEST"
"""What a self-test calls itself; the device lets it in from its own address whatever peers it knows."""

SCHEMA: Final = 1
"""Number of the JSON form; ``edgeai/schemas/selftest-1.json`` describes it."""

LIMIT_S: Final = 120.0
"""How long a whole self-test may take."""


def is_selftest(instance: InstanceRef) -> bool:
    """Whether this is a self-test's phantom and no patient's image. All marks must be there."""
    uids = (instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid)
    equipment = (instance.manufacturer.strip(), instance.manufacturer_model_name.strip())
    return all(uid.startswith(f"{UID_ROOT}.") for uid in uids) and equipment == (MANUFACTURER, MODEL_NAME)


def channel(deployment: str) -> str:
    """Where the end of a self-test's job goes."""
    return f"selftest/{deployment}"


def body(result: Result, *, site: str, device_id: str) -> bytes:
    """What leaves instead of ``result``, as JSON: how the run ended and on what, and no word of any image."""
    reason = result.reason
    return json.dumps(
        {
            "schema": SCHEMA,
            "selftest": result.instance.sop_instance_uid,
            "site": site,
            "device_id": device_id,
            "deployment": result.deployment,
            "ended": str(result.outcome),
            "code": reason.code if reason else None,
            "message": reason.message if reason else None,
            "model": {"name": result.model.name, "version": result.model.version, "digest": result.model.digest},
            "backend": result.engine.backend if result.engine else None,
            "created_at": result.created_at,
            "edgeai_version": result.edgeai_version,
            "attempt": result.attempt,
        }
    ).encode()
