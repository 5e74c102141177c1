"""Whether a bundle may follow another one: what the plan of the one that runs lets through, or an approver signed for.

The cart asks it when a bundle is installed beside the one that runs. What has answered there before may come back, and
a bundle without a plan asks for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.api.errors import BundleRejected
from edgeai.bundle.change_control import MAX_CHANGE_CONTROL_BYTES, decode_change_control
from edgeai.bundle.changes import Change, to_approve

if TYPE_CHECKING:
    from edgeai.bundle.envelope import Envelope
    from edgeai.bundle.manifest import Manifest
    from edgeai.config import Trust

_MOST_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Whose signature lets through what a plan does not.

    ``keys`` is where their public keys lie, ``trusted`` where those lie that any bundle must bear: a key that is in
    both is none of theirs, so that an approval is always another's signature.
    """

    keys: Path | None = None
    trusted: Path | None = None

    @classmethod
    def of(cls, rules: Trust) -> Approvers:
        """A profile's."""
        return cls(keys=rules.approvers, trusted=rules.keys)

    def signed(self, envelope: Envelope | None, manifest_bytes: bytes, model: str) -> bool:
        """Whether one of them signed this manifest, and may sign this model.

        Raises:
            ConfigError: ``keys.not-public``, ``keys.bounds``.
        """
        if self.keys is None or envelope is None:
            return False
        from edgeai.bundle.keys import read_keys
        from edgeai.bundle.trust import check_signatures

        others = {key.key_id for key in read_keys([self.trusted])} if self.trusted is not None else set()
        keys = [key for key in read_keys([self.keys]) if key.key_id not in others]
        return any(item.of(model) == "good" for item in check_signatures(envelope, manifest_bytes, keys))


def hold_to_change_control(
    root: Path, before: Manifest, after: Manifest, envelope: Envelope | None, data: bytes, approvers: Approvers
) -> None:
    """Refuse what the plan of the bundle that runs does not let through, unless an approver signed for it.

    Args:
        root: where the bundle that runs lies, unpacked.
        before: its manifest.
        after: that of the bundle that is to follow.
        envelope: the signatures of that one.
        data: the bytes of its manifest.
        approvers: of the device.

    Raises:
        BundleRejected: ``bundle.change-not-allowed``, ``bundle.bad-change-control``.
        ConfigError: as ``Approvers.signed``.
    """
    if before.change_control is None:
        return
    from edgeai.bundle.reader import read_member

    if approvers.signed(envelope, data, after.name):
        return
    plan = read_member(root, before, before.change_control, MAX_CHANGE_CONTROL_BYTES)
    assert plan is not None, "a manifest names no file that its bundle lacks"
    if changes := to_approve(before, after, decode_change_control(plan)):
        raise _refusal(before, after, changes, approvers)


def _refusal(before: Manifest, after: Manifest, changes: tuple[Change, ...], approvers: Approvers) -> BundleRejected:
    listed = "; ".join(change.says[:200] for change in changes[:_MOST_TOLD])
    more = f"; and {len(changes) - _MOST_TOLD} more" if len(changes) > _MOST_TOLD else ""
    whose = f"a key in {approvers.keys}" if approvers.keys else "a key that [trust] approvers of the profile names"
    return BundleRejected(
        f"{after.name} {after.version} changes what {before.version} does not let a later release change by itself: "
        f"{listed}{more}",
        code="bundle.change-not-allowed",
        remedy=f"look at `edgeai fleet diff`, and have it signed by {whose} where the change is meant",
    )
