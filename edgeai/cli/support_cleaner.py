"""What leaves in a support archive: figures, codes and edgeai's own sentences, and nothing that names an image.

An allow-list where a value could be anybody's (log lines, settings of plugins), and patterns over the sentences that
are let through: UIDs, digests of images, file names, person names, passwords.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from edgeai.config import DeviceConfig

REMOVED: Final = "<removed>"
MAX_SECRET_BYTES: Final = 65_536

_SENTENCES: Final = frozenset({"why", "message", "remedy", "how", "report", "detail"})
_SPEAKING: Final = frozenset(
    (
        "sink",
        "spool",
        "deployment",
        "role",
        "run",
        "plugin",
        "selftest",
        "trial",
        "release",
        "status",
        "health",
        "clock",
    )
)
"""Areas whose sentences speak of the device. Those of arrivals (file, folder, instance) can quote what came."""
_WORDS: Final = frozenset(
    {"code", "outcome", "deployment", "backend", "plugin", "version", "cause", "sink", "lane", "kind", "of", "stage"}
)
_WORD: Final = re.compile(r"[A-Za-z0-9][\w.:+-]{0,79}")

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"(?<=//)[^\s/@]+@"), f"{REMOVED}@"),
    (re.compile(r"(?<![\w.])[0-2](?:(?:\.\d+){3,}|\.\d+\.\d{6,})"), "<uid>"),
    (re.compile(r"[^\n'\"]*\^[^\n'\"]*"), "<name>"),  # names have blanks: all around it goes
    (re.compile(r"[^\s'\"]+\.(?:dcm|dicom|ima|png|jpe?g|tiff?)\b", re.IGNORECASE), "<file>"),
)
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{32,}")


class Cleaner:
    """Takes out of text and of whole tables what must not leave."""

    def __init__(self, config: DeviceConfig) -> None:
        self._folders = tuple(str(folder.path) for folder in config.ingest.folders)
        self._secrets = sorted({*_inline_secrets(config), *_secrets_in_files(config)}, key=len, reverse=True)
        self._digests: set[str] = set()

    def keep_digests(self, digests: Iterable[str | None]) -> None:
        """Those of bundles say which model it is; every other long hexadecimal number may be an image's."""
        self._digests |= {digest.removeprefix("sha256:") for digest in digests if digest}

    def text(self, text: str) -> str:
        """A sentence without what could identify an image, a patient or let anybody in."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        for folder in self._folders:  # to the end of the line: names of files may have blanks
            text = re.sub(re.escape(folder) + r"/[^\n]*", f"{folder}/<file>", text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return _DIGEST.sub(lambda match: match[0] if match[0].lower() in self._digests else "<digest>", text)

    def value(self, value: Any) -> Any:
        """The same, of a JSON value with everything in it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value if value is None or isinstance(value, bool | int | float) else self.text(str(value))

    def log_line(self, line: str) -> str | None:
        """A line of edgeai's own log as JSON; None for one of another form, which nobody can vouch for."""
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict) or not isinstance(record.get("event"), str):
            return None
        event = record["event"]
        if _WORD.fullmatch(event) is None or "." not in event or "logger" in record:
            return None  # a line of a library
        kept = {name: record[name] for name in ("at", "level", "role") if isinstance(record.get(name), str)}
        kept["event"] = event
        may_speak = event.partition(".")[0] in _SPEAKING
        for name, value in record.items():
            if name not in kept and (fact := self._fact(name, value, may_speak)) is not None:
                kept[name] = fact
        if isinstance(record.get("trace"), str):
            kept["trace"] = _frames(record["trace"])
        return json.dumps(kept)

    def _fact(self, name: str, value: Any, may_speak: bool) -> Any:
        if isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict) and all(isinstance(item, int | float) for item in value.values()):
            return self.value(value)
        if not isinstance(value, str):
            return None
        if name in _WORDS and _WORD.fullmatch(value):
            return self.text(value)
        return self.text(value) if may_speak and name in _SENTENCES else None


def profile_of(config: DeviceConfig) -> dict[str, Any]:
    """The whole profile with its defaults; what a plugin or a broker was told in words is taken out."""
    body = config.model_dump(mode="json", by_alias=True)
    if body["mqtt"].get("username") is not None:
        body["mqtt"]["username"] = REMOVED
    for deployment in body["deployments"]:
        deployment["settings"] = _without_words(deployment.get("settings"))
    for sink in body["sinks"].values():
        sink["settings"] = _without_words(sink.get("settings"))
    return body


def _without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_words(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else REMOVED


def _inline_secrets(config: DeviceConfig) -> Iterable[str]:
    """Words of the profile itself that are taken out, wherever else they turn up."""
    if config.mqtt.username:
        yield config.mqtt.username
    for sink in config.sinks.values():
        yield from _long_words(sink.settings)


def _long_words(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, str) and len(value) >= 4:
        yield value
    for item in value if isinstance(value, list | tuple) else ():
        yield from _long_words(item)


def _secrets_in_files(config: DeviceConfig) -> Iterable[str]:
    for path in (config.mqtt.password_file, config.privacy.hmac_key_file):
        if path is not None and (secret := _content(Path(path))):
            yield secret


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def _frames(trace: str) -> str:
    """Where in the code, and of which kind: what an exception says may quote what it was given."""
    lines = trace.splitlines()
    frames = [line.strip() for line in lines if re.match(r'\s+File "', line)]
    kinds = [match[1] for line in lines if (match := re.match(r"([A-Za-z_][\w.]*)(?::|$)", line)) and line != lines[0]]
    return "\n".join([*frames, *kinds[-1:]])
