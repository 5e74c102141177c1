"""What identifies an image outside the device: its UIDs, or a keyed hash of each.

With ``privacy.uids = "hmac"`` each UID leaves as the hex HMAC-SHA256 under a key that stays on the device (or with
the hospital), so that results of one study still belong together, and nobody without the key can try UIDs until one
fits. The result id is derived from the hashed UID for the same reason: a plain hash of a UID can be guessed at.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from edgeai.api.errors import ConfigError
from edgeai.api.results import InstanceIds

if TYPE_CHECKING:
    from edgeai.api.instances import InstanceRef
    from edgeai.config import Privacy

MIN_KEY_BYTES = 32


class UidMask:
    """Turns UIDs into what may leave the device. Without a key it changes nothing."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    @classmethod
    def of(cls, privacy: Privacy) -> UidMask:
        """The mask of a profile.

        Raises:
            ConfigError: ``config.hmac-key`` when the key file cannot be read or holds under 32 bytes.
        """
        if privacy.uids == "plain" or privacy.hmac_key_file is None:
            return cls()
        try:
            key = privacy.hmac_key_file.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"{privacy.hmac_key_file}: {error.strerror}", code="config.hmac-key") from error
        if len(key) < MIN_KEY_BYTES:
            raise ConfigError(
                f"{privacy.hmac_key_file} holds {len(key)} bytes, at least {MIN_KEY_BYTES} are needed",
                code="config.hmac-key",
                remedy="openssl rand -hex 32 > FILE",
            )
        return cls(key)

    def uid(self, uid: str) -> str:
        """One UID as it may leave; an empty one stays empty."""
        if self._key is None or not uid:
            return uid
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()

    def ids(self, instance: InstanceRef, content: str = "") -> InstanceIds:
        """The identifiers of a result; ``content`` is masked as UIDs are, since it names the image as they do."""
        return InstanceIds(
            sop_class_uid=self.uid(instance.sop_class_uid),
            sop_instance_uid=self.uid(instance.sop_instance_uid),
            series_instance_uid=self.uid(instance.series_instance_uid),
            study_instance_uid=self.uid(instance.study_instance_uid),
            modality=instance.modality,
            hashed=self._key is not None,
            content=self.uid(content),
        )

    def text(self, sentence: str, instance: InstanceRef) -> str:
        """A sentence in which the instance's UIDs are replaced."""
        for uid in (instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid):
            if uid:
                sentence = sentence.replace(uid, self.uid(uid))
        return sentence
