"""Profiles: every mistake at once with its line and the nearest right key; the documentation is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.api import ConfigError
from edgeai.config import Folder, Jsonl, Mqtt, Scp, Spool, Table, load_config
from edgeai.config_reference import reference
from edgeai.dicom.folder import FolderOptions
from edgeai.dicom.negotiation import AssociationRules
from edgeai.dicom.scp import ScpOptions
from edgeai.mqtt import Broker
from edgeai.plugins import load
from edgeai.spool import DefaultLimits
from edgeai.toml_lines import key_lines, line_of

GOOD = 'schema = 1\n[device]\nid = "cart"\nsite = "lab"\n'


def _load(tmp_path: Path, text: str) -> object:
    profile = tmp_path / "profile.toml"
    profile.write_text(text)
    return load_config(profile)


def _mistakes(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as failure:
        _load(tmp_path, text)
    assert failure.value.code == "config.invalid"
    return str(failure.value)


def test_a_minimal_profile_has_sane_defaults(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD)
    assert config.ingest.scp.host == "127.0.0.1", "nothing listens to the network unless told to"  # type: ignore[attr-defined]
    assert config.device.data_dir == tmp_path / "var"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("used", "tables"),
    [
        (DefaultLimits(), (Spool(),)),
        (ScpOptions(rules=AssociationRules(ae_title="EDGEAI")), (Scp(), Spool())),
        (FolderOptions(path=Path("/in")), (Folder(path=Path("/in")), Spool())),
        (Broker(host="127.0.0.1", port=1883, client_id=""), (Mqtt(),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_who_reads_no_profile_uses_what_one_says_by_default(used: object, tables: tuple[Table, ...]) -> None:
    defaults = {name: getattr(table, name) for table in tables for name in type(table).model_fields}
    shared = [name for name in defaults if hasattr(used, name) and name not in ("client_id", "tls")]
    assert len(shared) > 3
    assert {name: getattr(used, name) for name in shared} == {name: defaults[name] for name in shared}


@pytest.mark.parametrize(("sink", "table"), [("mqtt", Mqtt), ("jsonl", Jsonl)])
def test_the_cores_sinks_take_what_their_tables_say(sink: str, table: type[Table]) -> None:
    (spec,) = load(sink).sinks
    assert [option.name for option in spec.settings] == list(table.model_fields)
    assert all(option.help for option in spec.settings)


@pytest.mark.parametrize("name", ["dev", "xray-cart", "ultrasound-cart"])
def test_the_shipped_profiles_have_no_mistake(repo_root: Path, name: str) -> None:
    config = load_config(repo_root / f"firmware-configs/profiles/{name}.toml")
    assert config.deployments


def test_every_mistake_is_told_at_once_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    text = GOOD + '[mqtt]\nprot = 1\nkeepalive_s = "x"\n[[deployments]]\nname = "a"\nbundel = "b"\n[loging]\n'
    told = _mistakes(tmp_path, text).splitlines()
    assert told == [
        'profile.toml:6: mqtt.prot: unknown key; did you mean "port"?',
        'profile.toml:7: mqtt.keepalive_s: give seconds as a whole number, without quotes (here: "x")',
        'profile.toml:8: deployments[0].bundle: missing: add  bundle = "guard.edgeai"  or what is true here',
        'profile.toml:10: deployments[0].bundel: unknown key; did you mean "bundle"?',
        'profile.toml:11: loging: unknown key; did you mean "log"?',
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[ingest.scp]\nport = 70000\n", "ingest.scp.port"),
        ('[ingest.scp]\nport = "11112"\n', "ingest.scp.port"),
        ('[ingest.scp]\nae_title = "A TITLE FAR TOO LONG"\n', "ae_title"),
        ("[ingest.scp]\nenabled = 1\n", "enabled"),
        ('[privacy]\nuids = "hmac"\n', "hmac_key_file"),
        ('[mqtt.tls]\ncertificate = "c.pem"\n', "certificate and key go together"),
        ('[[deployments]]\nname = "Has Space"\nbundle = "b"\n', "deployments[0].name"),
        ('[[deployments]]\nname = "a"\nbundle = "b"\ndeadline_s = -1\n', "deadline_s"),
        ('[[deployments]]\nname = "a"\nbundle = "b"\n[[deployments]]\nname = "a"\nbundle = "c"\n', 'same name: "a"'),
        ('[spool]\nkeep_files = "forever"\n', "keep_files"),
        ("[supervise]\nquarantine_after = 0\n", "quarantine_after"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, word: str) -> None:
    assert word in _mistakes(tmp_path, GOOD + text)


def test_a_missing_file_and_broken_toml_have_codes_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as absent:
        load_config(tmp_path / "absent.toml")
    assert absent.value.code == "config.unreadable"
    assert str(absent.value) == f"there is no file {tmp_path / 'absent.toml'}"
    (tmp_path / "cart.toml").touch()
    for given, near in ((tmp_path / "catr.toml", 'did you mean "cart.toml"?'), (tmp_path / "none" / "a.toml", "")):
        with pytest.raises(ConfigError) as absent:
            load_config(given)
        assert str(absent.value).endswith(near or str(given))
        assert absent.value.remedy
    with pytest.raises(ConfigError, match="is a folder: name the file") as folder:
        load_config(tmp_path)
    assert folder.value.code == "config.unreadable"
    (tmp_path / "latin.toml").write_bytes(GOOD.encode() + b"# Ger\xe4t\n")
    with pytest.raises(ConfigError, match=r"line \d+ is not text in UTF-8") as latin:
        load_config(tmp_path / "latin.toml")
    assert "UTF-8" in (latin.value.remedy or "")
    with pytest.raises(ConfigError) as broken:
        _load(tmp_path, "schema = = 1")
    assert broken.value.code == "config.syntax"


def test_lines_are_found_through_arrays_quotes_and_multi_line_values() -> None:
    text = 'a = """\nb = 1\n"""\n[x.y]\n"z w" = [\n  1, # ]\n  2,\n]\n[[t]]\nk = 1\n[[t]]\n[t.s]\nk = { l = 2 }\n'
    lines = key_lines(text)
    assert lines[("x", "y", "z w")] == 5
    assert ("b",) not in lines
    assert lines[("t", 0, "k")] == 10
    assert lines[("t", 1, "s", "k")] == 13
    assert line_of(lines, ("t", 1, "s", "k", "l")) == 13
    assert line_of(lines, ("nowhere",)) is None


def test_the_reference_in_the_documentation_is_the_present_one(repo_root: Path) -> None:
    text = (repo_root / "firmware-configs/README.md").read_text()
    told = text.split("<!-- reference -->\n")[1].split("<!-- /reference -->")[0]
    assert told == reference(), "run: edgeai config reference, and paste it between the marks"


def test_every_key_says_what_it_means() -> None:
    empty = [line for line in reference().splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not empty
