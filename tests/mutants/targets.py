"""Which modules are mutated, and the tests that are to notice: each module's own, the quickest first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """Modules that belong together, and their tests."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/unit/test_{name}.py" for name in names)


def _spool(*names: str) -> tuple[str, ...]:
    return tuple(f"edgeai/spool/{name}.py" for name in names)


TARGETS: dict[str, Target] = {
    "deaths": Target(("edgeai/roles/deaths.py",), _unit("deaths")),
    "envelope": Target(
        ("edgeai/bundle/envelope.py", "edgeai/bundle/strict_json.py"), _unit("bundle_envelope", "bundle_signing")
    ),
    "trust": Target(
        ("edgeai/bundle/trust.py", "edgeai/bundle/bounds.py"), _unit("bundle_trust", "bundle_bounds", "bundle_keys")
    ),
    "walk": Target(
        ("edgeai/dicom/walk.py",),
        tuple(f"tests/unit/dicom/test_dicom_{name}.py" for name in ("walk", "oddities", "header")),
    ),
    "segment shapes": Target(
        tuple(f"plugins/edgeai-tasks/edgeai_tasks/segment/{name}.py" for name in ("shapes", "plane")),
        tuple(f"plugins/edgeai-tasks/tests/test_segment{name}.py" for name in ("_shapes", "_plane", "")),
    ),
    "faults": Target(_spool("faults"), _unit("spool_faults", "spool_blame", "spool_trials")),
    "outbox": Target(_spool("outbox", "aside", "queueing"), _unit("outbox", "outbox_model", "spool")),
    "mqtt": Target(
        ("edgeai/mqtt/connection.py", "edgeai/mqtt/reasons.py", "edgeai/sinks/mqtt.py", "edgeai/sinks/blame.py"),
        _unit("mqtt_connection", "mqtt_answers", "mqtt_reasons", "mqtt_twins", "mqtt"),
    ),
    "spool": Target(
        _spool("admission", "again", "counters", "holding", "intake", "ledger", "rows", "trials", "upkeep", "work"),
        _unit(
            *("spool_bounds", "spool", "spool_ledger", "spool_endings", "spool_blame", "spool_trials", "spool_station"),
            *("spool_wal", "spool_poison"),
        ),
    ),
}
