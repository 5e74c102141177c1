"""Whose signature a bundle must bear, and who did sign it.

securesystemslib and cryptography are imported only to hold a signature to a key: not for an unsigned bundle, and not
where there is no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from edgeai.api.errors import BundleRejected
from edgeai.api.results import SignerRef
from edgeai.bundle.envelope import PAYLOAD_TYPE, Envelope
from edgeai.bundle.keys import PublicKey, key_files, read_keys

if TYPE_CHECKING:
    from edgeai.config import Trust

SHORT: Final = 16
"""Hexadecimal digits of a key id in sentences; enough to tell keys apart, and JSON has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """One signature, held to the keys at hand: ``unknown`` when none of them has its id."""

    key_id: str
    verdict: Literal["good", "bad", "unknown"]
    key: PublicKey | None = None

    def __str__(self) -> str:
        """Who, in a sentence."""
        return f"{self.key.name} ({self.key_id[:SHORT]})" if self.key else self.key_id[:SHORT]


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

    def check(self, envelope: Envelope | None, manifest: bytes, name: str) -> tuple[SignerRef, ...]:
        """The trusted keys that signed these bytes of a manifest.

        Args:
            envelope: the bundle's, if it has one.
            manifest: the bytes of ``manifest.json``.
            name: of the bundle, for the message.

        Raises:
            BundleRejected: ``bundle.unsigned``, ``bundle.untrusted``, ``bundle.bad-signature``.
            ConfigError: ``keys.not-public``.
        """
        if envelope is None:
            if self.unsigned == "accept":
                return ()
            raise BundleRejected(
                f"{name} is not signed, and this device runs signed bundles only",
                code="bundle.unsigned",
                remedy="have it signed (`edgeai sign`); a device for trials may say `accept` under [trust]",
            )
        if not any(key_files(path) for path in self.keys):
            return self._enough((), envelope, name)
        seen = check_signatures(envelope, manifest, read_keys(self.keys))
        if bad := [str(item) for item in seen if item.verdict == "bad"]:
            raise BundleRejected(
                f"{name} bears a signature that is not what its key would have written: {', '.join(bad)}",
                code="bundle.bad-signature",
                remedy="fetch the bundle again; if it happens twice, do not use it and tell who signed it",
            )
        return self._enough([item for item in seen if item.verdict == "good"], envelope, name)

    def _enough(self, good: Sequence[SignatureCheck], envelope: Envelope, name: str) -> tuple[SignerRef, ...]:
        if len(good) < self.threshold and self.unsigned == "refuse":
            where = ", ".join(str(path) for path in self.keys)
            others = sorted({item.keyid for item in envelope.signatures} - {item.key_id for item in good})
            signed = [*(str(item) for item in good), *(f"{key_id[:SHORT]} (not trusted)" for key_id in others)]
            trusted = f"trusted are the keys in {where}"
            if not any(key_files(path) for path in self.keys):
                trusted = f"there is no key in {where}" if where else "no key was named as trusted"
            raise BundleRejected(
                f"{name} has {len(good)} of {self.threshold} trusted signatures needed; signed by {', '.join(signed)}; "
                + trusted,
                code="bundle.untrusted",
                remedy="have it signed by a key that is trusted here, or put the signer's public key there",
            )
        return tuple(SignerRef(name=item.key.name, key_id=item.key_id) for item in good if item.key)


def check_signatures(envelope: Envelope, manifest: bytes, keys: Sequence[PublicKey]) -> tuple[SignatureCheck, ...]:
    """Hold every signature to the key that it names, in the order of the envelope."""
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    known = {key.key_id: key for key in keys}
    signed = Dsse(manifest, PAYLOAD_TYPE, {}).pae()
    seen = []
    for item in envelope.signatures:
        key = known.get(item.keyid)
        verdict: Literal["good", "bad", "unknown"] = "unknown"
        if key is not None:
            try:
                key.key.verify_signature(Signature(item.keyid, item.hex), signed)
                verdict = "good"
            except UnverifiedSignatureError:
                verdict = "bad"
        seen.append(SignatureCheck(key_id=item.keyid, verdict=verdict, key=key))
    return tuple(seen)
