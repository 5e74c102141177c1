"""Whose signature a bundle must bear, and who did sign it.

securesystemslib and cryptography are imported only to hold a signature to a key: not for an unsigned bundle, and not
where there is no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from edgeai.api.errors import BundleRejected
from edgeai.api.results import SignerRef
from edgeai.bundle.envelope import PAYLOAD_TYPE, Envelope
from edgeai.bundle.keys import PublicKey, key_files, read_keys

if TYPE_CHECKING:
    from edgeai.config import Trust

Verdict: TypeAlias = Literal["good", "bad", "unknown", "expired", "elsewhere"]
"""``unknown``: no key at hand has its id. ``expired``: its key's trust has ended. ``elsewhere``: its key is bound to
other models."""

SHORT: Final = 16
"""Hexadecimal digits of a key id in sentences; enough to tell keys apart, and JSON has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """One signature, held to the keys at hand."""

    key_id: str
    verdict: Verdict
    key: PublicKey | None = None

    def __str__(self) -> str:
        """Who, in a sentence."""
        if self.key is None:
            return f"{self.key_id[:SHORT]} (not trusted)"
        ended = f", whose trust ended on {self.key.bounds.ends}" if self.verdict == "expired" else ""
        return f"{self.key.name} ({self.key_id[:SHORT]}){ended}"

    def of(self, model: str) -> Verdict:
        """The same of a model of this name."""
        elsewhere = self.verdict == "good" and self.key is not None and not self.key.bounds.is_for(model)
        return "elsewhere" if elsewhere else self.verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Which keys are trusted, how many of them must have signed, and what of bundles that nobody signed.

    Attributes:
        keys: public keys as files, and folders of them.
        threshold: so many different keys of these must have signed.
        unsigned: ``accept`` runs a bundle whatever signatures it lacks, since whoever could add one could take it
            away; a signature of a trusted key that does not hold is refused all the same.
    """

    keys: tuple[Path, ...]
    threshold: int = 1
    unsigned: Literal["refuse", "accept"] = "refuse"

    @classmethod
    def of(cls, rules: Trust) -> TrustPolicy:
        """A profile's ``[trust]``."""
        return cls(keys=(rules.keys,), threshold=rules.threshold, unsigned=rules.unsigned)

    def check(self, envelope: Envelope | None, manifest: bytes, name: str) -> Signatures:
        """The trusted keys that signed these bytes of a manifest; which models they may sign is the answer's to say.

        Args:
            envelope: the bundle's, if it has one.
            manifest: the bytes of ``manifest.json``.
            name: of the bundle, for the message.

        Raises:
            BundleRejected: ``bundle.unsigned``, ``bundle.untrusted``, ``bundle.bad-signature``,
                ``bundle.signer-expired``.
            ConfigError: ``keys.not-public``, ``keys.bounds``.
        """
        if envelope is None:
            if self.unsigned == "accept":
                return Signatures(policy=self, name=name, seen=())
            raise BundleRejected(
                f"{name} is not signed, and this device runs signed bundles only",
                code="bundle.unsigned",
                remedy="have it signed (`edgeai sign`); a device for trials may say `accept` under [trust]",
            )
        keys = read_keys(self.keys) if any(key_files(path) for path in self.keys) else ()
        signed = Signatures(policy=self, name=name, seen=_held(envelope, manifest, keys))
        if bad := [str(item) for item in signed.seen if item.verdict == "bad"]:
            raise BundleRejected(
                f"{name} bears a signature that is not what its key would have written: {', '.join(bad)}",
                code="bundle.bad-signature",
                remedy="fetch the bundle again; if it happens twice, do not use it and tell who signed it",
            )
        signed.hold_to_threshold()
        return signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """The signatures of one bundle, none of them bad, and what a policy makes of them."""

    policy: TrustPolicy
    name: str
    seen: tuple[SignatureCheck, ...]

    def by(self, model: str) -> tuple[SignerRef, ...]:
        """The trusted keys that signed it and may sign a model of this name.

        Raises:
            BundleRejected: ``bundle.signer-elsewhere``: too few of them.
        """
        good = [item for item in self.seen if item.of(model) == "good"]
        if len(good) < self.policy.threshold and self.policy.unsigned == "refuse":
            others = [item for item in self.seen if item.of(model) == "elsewhere"]
            bound = [f"{item} only {item.key.bounds}" for item in others if item.key]
            raise BundleRejected(
                f"{self.name} is of the model {model}, and has {len(good)} of {self.policy.threshold} signatures needed"
                f" of keys that may sign it; trusted are {', '.join(bound)}",
                code="bundle.signer-elsewhere",
                remedy="have it signed by a key that is trusted for this model, or name the model in trust.toml",
            )
        return tuple(SignerRef(name=item.key.name, key_id=item.key_id) for item in good if item.key)

    def hold_to_threshold(self) -> None:
        """Refuse what too few trusted keys signed, whatever it is."""
        good = sum(item.verdict == "good" for item in self.seen)
        expired = [item for item in self.seen if item.verdict == "expired"]
        if good >= self.policy.threshold or self.policy.unsigned == "accept":
            return
        who = ", ".join(str(item) for item in sorted(self.seen, key=lambda item: item.verdict == "unknown"))
        short_of = f"{self.name} has {good} of {self.policy.threshold} trusted signatures needed; signed by {who}"
        if good + len(expired) >= self.policy.threshold:
            raise BundleRejected(
                short_of,
                code="bundle.signer-expired",
                remedy="have it signed by a key that is still trusted here, or move the key's end in trust.toml",
            )
        where = ", ".join(str(path) for path in self.policy.keys)
        trusted = f"trusted are the keys in {where}"
        if not any(key_files(path) for path in self.policy.keys):
            trusted = f"there is no key in {where}" if where else "no key was named as trusted"
        raise BundleRejected(
            f"{short_of}; {trusted}",
            code="bundle.untrusted",
            remedy="have it signed by a key that is trusted here, or put the signer's public key there",
        )


def _held(envelope: Envelope, manifest: bytes, keys: Sequence[PublicKey]) -> tuple[SignatureCheck, ...]:
    if keys:
        return check_signatures(envelope, manifest, keys)
    # Without a key there is nothing to compute, and nothing is imported that computes.
    return tuple(SignatureCheck(key_id=item.keyid, verdict="unknown") for item in envelope.signatures)


def check_signatures(
    envelope: Envelope, manifest: bytes, keys: Sequence[PublicKey], kind: str = PAYLOAD_TYPE
) -> tuple[SignatureCheck, ...]:
    """Hold every signature to the key that it names, in the order of the envelope; ``kind`` is the payload's type."""
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    known = {key.key_id: key for key in keys}
    signed, now = Dsse(manifest, kind, {}).pae(), datetime.now(UTC)
    seen = []
    for item in envelope.signatures:
        key = known.get(item.keyid)
        verdict: Verdict = "unknown"
        if key is not None:
            try:
                key.key.verify_signature(Signature(item.keyid, item.hex), signed)
                verdict = "expired" if key.bounds.is_over(now) else "good"
            except UnverifiedSignatureError:
                verdict = "bad"
        seen.append(SignatureCheck(key_id=item.keyid, verdict=verdict, key=key))
    return tuple(seen)
