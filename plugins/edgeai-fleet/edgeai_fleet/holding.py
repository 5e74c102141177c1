"""Is what is staged fit to be published? Versions, signatures, ends, delegations, offers, blobs: before any write."""

from __future__ import annotations

from edgeai.api.errors import BundleRejected, ConfigError
from edgeai.bundle.offers import Offer, blob_path, decode_offer, packed_as
from edgeai.counted import counted
from edgeai.rollouts import Approval, Document, RollBack, Rollout, Stop, kind_of
from edgeai_fleet.documents import listed_documents, read_document
from edgeai_fleet.keys import called
from edgeai_fleet.layout import Folder
from edgeai_fleet.offering import Listed, listed
from edgeai_fleet.staging import Staging
from edgeai_fleet.state import ONLINE, altered


def hold(change: Staging) -> None:
    """Refuse to publish what a client would refuse.

    Raises:
        ConfigError: ``fleet.stale``, ``fleet.signatures-missing``, ``fleet.expired``, ``fleet.not-delegated``,
            ``fleet.altered``.
    """
    new = change.merged
    for role in change.staged.targets:
        if role not in new.targets:
            raise ConfigError(
                f"{role} is staged, and nothing is delegated to it",
                code="fleet.not-delegated",
                remedy=f"delegate to it, or remove {change.folder.staged_metadata(role)}",
            )
    for role in new.roles():
        if role in ONLINE:
            continue
        _hold_version(change, role)
        _hold_signed(change, role)
        metadata = new.of(role)
        assert metadata is not None
        if metadata.signed.is_expired(change.now):
            raise ConfigError(
                f"{role} ended on {metadata.signed.expires:%Y-%m-%d %H:%M} UTC: no cart takes it",
                code="fleet.expired",
                remedy=f"edgeai fleet sign --renew {role}, with its keys",
            )
        for path in metadata.signed.targets if role in new.targets else ():
            if (path.startswith("models/") or kind_of(path) is not None) and new.owner(path) != role:
                raise not_delegated(role, path)
    _hold_documents(change)


def new_documents(change: Staging) -> list[tuple[str, str]]:
    """Path and SHA-256 of each document of a rollout that a publish brings."""
    live = dict(listed_documents(change.live))
    staged = listed_documents(change.merged)
    return [(path, target.hashes["sha256"]) for path, target in staged if live.get(path) != target]


def _hold_documents(change: Staging) -> None:
    """Each can be read, and what counts up has counted up: an old one that is signed again is no newer."""
    live = dict(listed_documents(change.live))
    for path, target in listed_documents(change.merged):
        kind, before = kind_of(path), live.get(path)
        if before == target or kind is None:
            continue
        document = read_document(change.folder, path, target, kind)
        if before is None or isinstance(document, Approval):
            continue
        earlier = read_document(change.folder, path, before, kind)
        if _count(document) <= _count(earlier):
            raise ConfigError(
                f"{path} is staged as number {_count(document)}, and number {_count(earlier)} is published",
                code="fleet.stale",
                remedy="do that change again, above what is published",
            )


def _count(document: Document) -> int:
    if isinstance(document, RollBack):
        return document.number
    return document.serial if isinstance(document, Rollout | Stop) else 0


def not_delegated(role: str, path: str) -> ConfigError:
    """A role offers what it may not."""
    return ConfigError(
        f"{role} offers {path}, which is not delegated to it: no cart sees it",
        code="fleet.not-delegated",
        remedy=f"have {role} offer its own models only, or delegate the name to it (`edgeai fleet delegate`)",
    )


def new_offers(change: Staging) -> tuple[list[str], list[str]]:
    """Paths of offers, and contents, that a publish brings; every blob of a new offer is looked at.

    Raises:
        ConfigError: ``fleet.altered``.
    """
    published = {(each.path, each.sha256) for each in listed(change.live)}
    offers: list[str] = []
    blobs: dict[str, None] = {}
    for each in listed(change.staged):
        if (each.path, each.sha256) in published:
            continue
        offers.append(each.path)
        for sha256, packed in _staged_offer(change.folder, each).packed.items():
            blob = change.folder.blob_here(sha256)
            if blob is None:
                raise altered(change.folder.public / blob_path(sha256), f"{each.path} needs it, and it is not there")
            if packed_as(blob) != packed:
                raise altered(blob, f"{each.path} has it otherwise")
            if blob == change.folder.staged_blob(sha256):
                blobs[sha256] = None
    return offers, list(blobs)


def _staged_offer(folder: Folder, each: Listed) -> Offer:
    path = folder.staged_target(each.path)
    try:
        data = path.read_bytes()
        offer = decode_offer(data)
    except (OSError, BundleRejected) as error:
        raise altered(path, getattr(error, "strerror", None) or str(error)) from error
    if len(data) != each.length or packed_as(path).sha256 != each.sha256:
        raise altered(path, f"the staged metadata of {each.role} have another one")
    return offer


def _hold_version(change: Staging, role: str) -> None:
    staged, live = change.staged.of(role), change.live.of(role)
    want = live.signed.version + 1 if live is not None else 1
    if staged is not None and staged.signed.version != want:
        raise ConfigError(
            f"{role} is staged as version {staged.signed.version}, and version {want} comes next",
            code="fleet.stale",
            remedy=f"remove {change.folder.staged_metadata(role)} and do that change again",
        )


def _hold_signed(change: Staging, role: str) -> None:
    if change.missing(role):
        new = change.merged
        metadata = new.of(role)
        assert metadata is not None
        lacking = dict(new.verified(role, metadata).unsigned)
        if role == "root" and change.live.root is not None:
            lacking |= change.live.verified(role, metadata).unsigned
        who = ", ".join(called(key) for key in lacking.values())
        raise ConfigError(
            f"{role} needs {counted(change.missing(role), 'more signature')}, of {who}",
            code="fleet.signatures-missing",
            remedy="edgeai fleet sign FOLDER --key, by who holds one of them"
            + ("" if change.staged.of(role) else f"; it is published already, so with --renew {role}"),
        )
