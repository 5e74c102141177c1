"""Single mistakes on the profiles that ship: `edgeai config check` finds each, at its line, in a person's words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
from typer.testing import CliRunner

from edgeai.api import ConfigError
from edgeai.cli.main import run
from edgeai.config import load_config

NAMES = ("dev", "ultrasound-cart", "xray-cart")
Check: TypeAlias = Callable[..., tuple[int, str, str]]

# (profile, line as it ships): (what it becomes, key that is told, words that are told)...
MISTAKES: dict[tuple[str, str], list[tuple[str, ...]]] = {
    ("dev", 'id = "dev-1"'): [
        ('id = "Dev 1"', "device.id", "use a-z, 0-9 and -", "e.g. dev-1"),
        ('id = ""', "device.id", "use a-z, 0-9 and -", "cart-1"),
        ("id = 17", "device.id", 'text in quotes, as in "17"'),
        ("id = dev-1", "not TOML", 'text needs quotes: id = "dev-1"'),
    ],
    ("dev", 'site = "lab"'): [
        ('site = "lab/+/x"', "device.site", "use a-z, 0-9 and -", "e.g. lab-x"),
        ('site = "#"', "device.site", "use a-z, 0-9 and -"),
        ('siet = "lab"', "device.siet", 'did you mean "site"?'),
    ],
    ("dev", 'name = "guard"'): [('name = "guard_1"', "deployments[0].name", "e.g. guard-1")],
    ("dev", "[mqtt]"): [
        ("tls = true\n[mqtt]", "deployments[0].tls", "tls belongs in"),
        ("[mqqt]", "mqqt", 'did you mean "mqtt"?'),
        ("[[mqtt]]", "mqtt", "[mqtt] with one bracket"),
    ],
    ("dev", 'data_dir = "../../var/dev"'): [
        ('data_dir = "$HOME/dev"', "device.data_dir", "$HOME", "not replaced"),
        ('Data_Dir = "../../var/dev"', "device.Data_Dir", 'did you mean "data_dir"?'),
        ('data_dir = "dev.toml"', "device.data_dir", "is a file"),
    ],
    ("xray-cart", "deadline_s = 10"): [
        ("deadline_ms = 10", "deployments[0].deadline_ms", 'did you mean "deadline_s"?'),
        ("deadline_s = 10000", "deployments[0].deadline_s", "2.8 hours", "write 10"),
        ('deadline_s = "10s"', "deployments[0].deadline_s", "give seconds as a number: 10"),
        ("deadline_s = 0", "deployments[0].deadline_s", "use more than 0"),
        ("deadline_s = 10s", "not TOML", "no unit"),
    ],
    ("dev", 'ae_title = "EDGEAI"'): [("keepalive_s = 30", "ingest.scp.keepalive_s", "belongs in [mqtt]")],
    ("dev", "[[deployments]]"): [
        ("[deployments]", "deployments", "[[deployments]] with two brackets"),
        ("[updates]\nquiet_s = 5\n[[deployments]]", "updates.quiet_s", "no deployment takes updates"),
    ],
    ("dev", "port = 1883"): [
        ("protocol = 5", "mqtt.protocol", 'write it in quotes: "5"'),
        ('port = "1883"', "mqtt.port", "write it without quotes: 1883"),
        ("port = 18830000", "mqtt.port", "use at most 65_535"),
        ('password_file = "../../LICENSE"', "mqtt.password_file", "needs a username"),
        ('client_id = "edge/#"', "mqtt.client_id", "wildcards"),
        ("port = 1883\nport = 1884", "not TOML", "write it once"),
    ],
    ("dev", "port = 11112"): [
        ('peers = ["DETECTOR"]', "ingest.scp.peers[0]", "a table each: write [[ingest.scp.peers]]"),
        ("port = 0", "ingest.scp.port", "use at least 1"),
        ("port = 9464", "ingest.scp.port", "9464 is health.port too"),
        ("port = 1883", "mqtt.port", "1883 is ingest.scp.port too"),
    ],
    ("dev", "reserve_bytes = 500_000_000"): [
        ('reserve_bytes = "500 MB"', "spool.reserve_bytes", "500_000_000"),
        ("reserve_bytes = 500", "spool.reserve_bytes", "write 500_000_000"),
        ("reserve_bytes = -1", "spool.reserve_bytes", "use at least 0"),
        ("reserve_bytes = 5.5", "spool.reserve_bytes", "a whole number"),
    ],
    ("xray-cart", "threads = 2"): [("threads = -2", "deployments[0].threads", "use at least 0")],
    ("xray-cart", "require_called_ae_title = true"): [
        ('require_called_ae_title = "yes"', "require_called", "true or false")
    ],
    ("dev", 'format = "console"'): [
        ('[results]\nschema = "2"', "results.schema", "write it without quotes: 2"),
        ('format = "text"', "log.format", 'use "json" or "console"'),
        ('level = "warn"', "log.level", 'did you mean "warning"?'),
        ("[supervise]\nsilent_s = 0.5", "supervise.silent_s", "heartbeat_s (1) must be less"),
        ("[supervise]\nrestart_min_s = 60", "restart_min_s", "must be less than restart_max_s"),
    ],
    ("ultrasound-cart", 'after = "move"'): [
        ('after = "keep"', "ingest.folders[0].after", '"move" or "leave" or "delete"')
    ],
    ("xray-cart", 'backends = ["openvino", "tflite"]'): [
        ('backends = "tflite"', "backends", 'give a list: ["tflite"]'),
        ('backends = ["tflite", "tflite"]', "backends", "twice"),
        ('backends = ["tflite", "fastest"]', "backends", "alone"),
    ],
    ("dev", "schema = 1"): [
        ('schema = "1"', "schema", "write it without quotes: 1"),
        ("schema = 2", "schema", "use 1"),
    ],
    ("xray-cart", "[health]"): [("[health]\nport = 2762", "health.port", "2762 is ingest.scp.port too")],
    ("dev", 'path = "../../var/dev/inbox"'): [
        ('path = "."', "ingest.folders[0].path", "this profile lies in it"),
        ('path = "../../models"', "deployments[0].bundle", "ingest.folders[0] is"),
        ('path = "%INBOX%"', "ingest.folders[0].path", "not replaced"),
        ('path = "../../var/dev/spool/in"', "ingest.folders[0].path", "own"),
        ('path = "../../var"', "ingest.folders[0].path", "data_dir"),
        ('path = "../../LICENSE"', "ingest.folders[0].path", "is a file"),
    ],
    ("ultrasound-cart", "settle_s = 5"): [('done_dir = "/srv/edgeai/export"', "done_dir", "again and again")],
    ("xray-cart", "max_associations = 4"): [
        ("max_associations = 4\nmax_associations_per_host = 9", "per_host", "more than")
    ],
    ("xray-cart", "max_instance_bytes = 200_000_000"): [
        ("max_instance_bytes = 200_000_000_000", "max_held_bytes", "held")
    ],
    ("xray-cart", 'uids = "hmac"'): [('uids = "plain"', "privacy.hmac_key_file", "no effect")],
    ("xray-cart", 'hmac_key_file = "/etc/edgeai/uid-hmac.key"'): [("", "privacy.uids", "needs hmac_key_file")],
    ("xray-cart", 'key = "/etc/edgeai/device.key"'): [("", "mqtt.tls.certificate", "key is missing")],
    ("ultrasound-cart", 'backends = ["tflite"]'): [('backends = ["openvino"]', "backends", "not allowed")],
    ("dev", "[ingest.scp]"): [("[ingest.scp]\nmax_associations = 0", "max_associations", "use at least 1")],
    ("xray-cart", 'ae_title = "EDGEAI"'): [
        ('ae_title = "MOBILE-XRAY-UNIT-017"', "ae_title", "at most 16 characters, not 20"),
        ("ae_title = 'EDGE\\AI'", "ingest.scp.ae_title", "no backslash"),
        ('ae_title = "   "', "ingest.scp.ae_title", "one character at least"),
    ],
    ("dev", 'host = "127.0.0.1"'): [
        ('host = "broker/x"', "mqtt.host", 'has "/"'),
        ('host = " 127.0.0.1"', "mqtt.host", "no space"),
        ('host = "mqtt://127.0.0.1"', "mqtt.host", "without what stands before"),
        ('host = "broker:1883"', "mqtt.host", "and its port as `port`"),
        ('host = "127.0.0.300"', "mqtt.host", "no address"),
    ],
    ("dev", "modality-guard-1.0.1.edgeai"): [("modality-guard-1.0.l.edgeai", "deployments[0].bundle", "did you mean")],
    ("dev", "models/modality-guard/modality-guard-1.0.1.edgeai"): [
        ("models/guard/m.edgeai", "bundle", "there is no file"),
        ("models/modality-guard", "bundle", "is a folder"),
    ],
    ("dev", 'path = "../../var/dev/results.jsonl"'): [
        ('path = "${LOGS}/r.jsonl"', "jsonl.path", "not replaced"),
        ('path = "../../models"', "jsonl.path", "is a folder"),
    ],
    ("dev", '[[ingest.folders]]\npath = "../../var/dev/inbox"'): [
        ('[ingest]\nfolders = ["../../var/dev/inbox"]', "ingest.folders[0]", "a table each: write [[ingest.folders]]")
    ],
    ("dev", 'bundle = "../../models/modality-guard/modality-guard-1.0.1.edgeai"'): [
        (
            'bundle = "../../models/modality-guard/modality-guard-1.0.1.edgeai"\n[deployments.head]\nname = "head"',
            "deployments[0].head",
            'for another one write [[deployments]] with two brackets, and name = "head"',
        )
    ],
    ("xray-cart", 'host = "192.0.2.10"'): [('host = "192.0.2.0/24"', "peers[0].host", "one address, no range")],
    ("xray-cart", 'ca = "/etc/edgeai/dicom-ca.pem"'): [('ca = "$ETC/ca.pem"', "ingest.scp.tls.ca", "not replaced")],
    ("dev", "../../var/dev/results.jsonl"): [("../../var/dev/inbox/r/results.jsonl", "jsonl.path", "watched")],
    ("ultrasound-cart", 'ca = "/etc/edgeai/broker-ca.pem"'): [
        ('ca = "/srv/edgeai/export/broker-ca.pem"', "mqtt.tls.ca", "a watched folder")
    ],
    ("ultrasound-cart", 'hmac_key_file = "/etc/edgeai/uid-hmac.key"'): [
        ('hmac_key_file = "/srv/edgeai/export/uid-hmac.key"', "privacy.hmac_key_file", "a watched folder")
    ],
    ("ultrasound-cart", 'keys = "/etc/edgeai/trust"'): [
        ('keys = "/srv/edgeai/export/trust"', "trust.keys", "a watched folder")
    ],
}


class Mistake(NamedTuple):
    profile: str
    line: str
    instead: str
    key: str
    words: tuple[str, ...]


EACH = [Mistake(*place, row[0], row[1], row[2:]) for place, rows in MISTAKES.items() for row in rows]


@pytest.fixture
def tree(repo_root: Path, tmp_path: Path) -> Path:
    """What a profile that ships is relative to."""
    shutil.copytree(repo_root / "firmware-configs/profiles", tmp_path / "firmware-configs/profiles")
    (tmp_path / "LICENSE").write_text("")
    (tmp_path / "models/modality-guard").mkdir(parents=True)
    (tmp_path / "models/modality-guard/modality-guard-1.0.1.edgeai").write_text("")
    return tmp_path


@pytest.fixture
def check(capsys: Any) -> Check:
    """``edgeai config check`` of a profile: status, stdout, stderr."""

    def call(path: Path) -> tuple[int, str, str]:
        status = run(["config", "check", str(path)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def _with(tree: Path, name: str, line: str, instead: str) -> tuple[Path, int]:
    """The profile with one line changed, and the number of the changed line (of its end, where it became two)."""
    path = tree / f"firmware-configs/profiles/{name}.toml"
    text = path.read_text()
    assert line in text
    before = text[: text.index(line)]
    path.write_text(text.replace(line, instead, 1))
    return path, before.count("\n") + 1


@pytest.mark.parametrize("mistake", EACH, ids=lambda mistake: f"{mistake.profile}: {mistake.instead}")
def test_a_single_mistake_is_found_at_its_line(tree: Path, check: Check, mistake: Mistake) -> None:
    path, number = _with(tree, mistake.profile, mistake.line, mistake.instead)
    status, out, error = check(path)
    assert (status, out) == (2, "")
    told = [text.partition("]: ")[2] or text for text in error.splitlines() if path.name in text]
    told = [text for text in told if not text.startswith("note:")]
    # A key that must be there and is misspelt is missing too.
    told = [text for text in told if ": missing: " not in text]
    assert len(told) == 1, told
    assert mistake.key in told[0]
    assert all(word in told[0] for word in mistake.words), told
    place = re.match(rf"{re.escape(path.name)}:(\d+): ", told[0])
    assert place is not None
    lines = path.read_text().splitlines()
    at = lines[int(place[1]) - 1]
    is_changed = number <= int(place[1]) <= number + mistake.instead.count("\n")
    # Where a key was taken away, or two disagree, the other one's line is as good.
    assert is_changed or mistake.key.rpartition(".")[2] in at, (at, told)
    assert not re.search(r"\^|\\\[|Input should|pattern", told[0]), "no regular expression, and no library's words"


def test_all_mistakes_are_told_in_one_go(tree: Path, check: Check) -> None:
    path = tree / "firmware-configs/profiles/dev.toml"
    text = path.read_text()
    keys = {"device.id", "device.siet", "mqtt.port", "mqtt.client_id", "spool.reserve_bytes", "jsonl.path"}
    keys |= {"deployments[0].bundle", "ingest.folders[0].path"}
    chosen = {each.line: each for each in EACH if each.profile == "dev" and each.key in keys}
    assert len(chosen) >= len(keys) - 1, "of each line one; a port and a client_id share theirs"
    for line, mistake in chosen.items():
        text = text.replace(line, mistake.instead, 1)
    path.write_text(text)
    status, _, error = check(path)
    assert status == 2
    for mistake in chosen.values():
        assert mistake.key in error, error
    numbers = [int(n) for n in re.findall(r"dev\.toml:(\d+): ", error)]
    assert len(numbers) >= len(chosen)
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", NAMES)
def test_the_profiles_that_ship_pass(tree: Path, check: Check, name: str) -> None:
    status, out, _ = check(tree / f"firmware-configs/profiles/{name}.toml")
    assert status == 0
    assert "no mistakes" in out


# (profile, line as it ships): what it becomes...
FINE: dict[tuple[str, str], list[str]] = {
    ("dev", "port = 11112"): ["port = 104"],
    ("dev", 'ae_title = "EDGEAI"'): ['ae_title = "CART 1~"'],
    ("dev", 'host = "127.0.0.1"'): [
        'host = "broker.st-elsewhere.example"',
        'host = "::1"',
    ],
    ("dev", "[mqtt]"): ["[mqtt]\nenabled = false"],
    ("dev", 'format = "console"'): [
        "[health]\nenabled = false\nport = 11112",
        '[health]\nhost = "192.0.2.1"\nport = 11112',
        "[supervise]\nrestart_min_s = 30\nrestart_max_s = 30",
    ],
    ("dev", "reserve_bytes = 500_000_000"): ["reserve_bytes = 0\nmax_failed_bytes = 0"],
    ("dev", 'data_dir = "../../var/dev"'): ['data_dir = "new/5$ and 10%"', 'data_dir = "new/place"'],
    ("dev", 'path = "../../var/dev/inbox"'): [
        'path = "../../inbox"\ndone_dir = "../../inbox/taken"',
        'path = "../../a"\n[[ingest.folders]]\npath = "../../b"',
    ],
    ("xray-cart", 'backends = ["openvino", "tflite"]'): [
        'backends = ["fastest"]',
        "backends = []\nsettings = { openvino = { a = 1 } }",
    ],
    ("xray-cart", "deadline_s = 10"): ["deadline_s = 7200\nopen_deadline_s = 0.5"],
    ("xray-cart", 'ae_title = "DETECTOR", host = "192.0.2.10"'): ['ae_title = "DETECTOR", host = "detector.example"'],
    ("ultrasound-cart", 'after = "move"'): ['after = "leave"'],
    ("ultrasound-cart", "max_instance_bytes = 1_000_000_000"): ["max_instance_bytes = 100_000_000"],
    ("ultrasound-cart", 'backends = ["tflite"]'): ['backends = ["auto"]'],
    ("dev", 'path = "../../var/dev/results.jsonl"'): ['path = "../../var/dev/inbox.jsonl"'],
}


@pytest.mark.parametrize(
    ("name", "line", "instead"), [(*place, instead) for place, rows in FINE.items() for instead in rows]
)
def test_an_unusual_profile_that_is_fine_passes(tree: Path, check: Check, name: str, line: str, instead: str) -> None:
    path, _ = _with(tree, name, line, instead)
    assert check(path)[0] == 0
    load_config(path)


def test_a_profile_of_another_machine_is_noted_and_one_with_a_doubt_still_runs(tree: Path, check: Check) -> None:
    path = tree / "firmware-configs/profiles/ultrasound-cart.toml"
    status, _, error = check(path)
    assert status == 0
    lines = path.read_text().splitlines()
    number = 1 + next(index for index, line in enumerate(lines) if line.startswith('ca = "/etc/edgeai/broker-ca.pem"'))
    if not Path("/etc/edgeai").exists():
        assert f"note: ultrasound-cart.toml:{number}: mqtt.tls.ca: /etc/edgeai/broker-ca.pem is not on this" in error
    path, _ = _with(tree, "xray-cart", 'uids = "hmac"', 'uids = "plain"')
    assert check(path)[0] == 2
    assert load_config(path).privacy.uids == "plain", "what a cart runs with does not stop it"
    with pytest.raises(ConfigError):
        load_config(_with(tree, "dev", "port = 11112", "port = 9464")[0])


NOTED = [
    ("dev", "port = 11112", "port = 2762", "ingest.scp.port: 2762 is usual with TLS"),
    ("dev", "port = 1883", "port = 8883", "mqtt.port: 8883 is usual with TLS"),
    ("xray-cart", 'backends = ["openvino", "tflite"]', 'backends = ["openvno"]', 'did you mean "openvino"?'),
    ("xray-cart", 'backends = ["openvino", "tflite"]', 'backends = ["litert"]', 'did you mean "tflite"?'),
    (
        "xray-cart",
        'backends = ["openvino", "tflite"]',
        'backends = ["onnx"]',
        'no plugin in plugins.allow is called "onnx"',
    ),
    ("dev", 'path = "../../var/dev/inbox"', 'path = "../../new/inbox"', "new/inbox is not here yet: create it"),
]


@pytest.mark.parametrize(("name", "line", "instead", "words"), NOTED)
def test_what_may_be_meant_is_noted_and_stops_nothing(
    tree: Path, check: Check, name: str, line: str, instead: str, words: str
) -> None:
    path, _ = _with(tree, name, line, instead)
    status, _, error = check(path)
    assert status == 0
    assert [text for text in error.splitlines() if text.startswith("note: ") and words in text], error


@pytest.mark.parametrize(
    ("name", "line", "instead"),
    [
        ("dev", "port = 11112", "port = 11113"),
        ("xray-cart", "port = 2762", "port = 2763"),
        ("xray-cart", 'backends = ["openvino", "tflite"]', 'backends = ["openvino"]'),
    ],
)
def test_nothing_is_noted_of_what_is_usual(tree: Path, check: Check, name: str, line: str, instead: str) -> None:
    """A watched folder inside data_dir is made at the start: nobody has to make it."""
    path, _ = _with(tree, name, line, instead)
    status, _, error = check(path)
    notes = [text for text in error.splitlines() if "on this machine" not in text]
    assert (status, notes) == (0, [])


def test_words_of_the_shell_are_near_too() -> None:
    from edgeai.cli.main import app

    for wrong, near in (("docter", "doctor"), ("confg", "config"), ("stauts", "status")):
        done = CliRunner().invoke(app, [wrong])
        assert done.exit_code == 2
        assert f"Did you mean '{near}'" in done.output, done.output
    done = CliRunner().invoke(app, ["xyzzy"])
    assert done.exit_code == 2
    assert "Did you mean" not in done.output
