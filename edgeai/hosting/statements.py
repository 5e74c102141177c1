"""When two models agree on an image, as far as their findings alone say."""

from __future__ import annotations

from edgeai.api.results import Finding, Findings


def difference_of_statements(before: Findings, now: Findings) -> str:
    """Which statement one makes of an image, or of a frame of it, and the other does not; probabilities may differ."""
    old, new = _stated(before), _stated(now)
    for finding in (*now, *before):
        key = _key(finding)
        if (key in new) != (key in old):
            frame = f" in frame {finding.frame_number}" if finding.frame_number is not None else ""
            return f"{finding.kind} {finding.label}{frame} is {'stated' if key in new else 'stated no longer'}"
    return ""


def _stated(findings: Findings) -> set[tuple[str, str, int | None]]:
    return {_key(finding) for finding in findings if finding.present}


def _key(finding: Finding) -> tuple[str, str, int | None]:
    return finding.kind, finding.label, finding.frame_number
