"""``trust.toml``: what a trusted key may sign, and until when; strict, and the same for all who ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeai.api import BundleRejected, ConfigError, SignerRef
from edgeai.bundle.archive import pack
from edgeai.bundle.bounds import BOUNDS_NAME, Bounds
from edgeai.bundle.keys import KeyPair, make_keys, read_keys
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import open_bundle, read_manifest
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.bundle.trust import TrustPolicy
from edgeai.cli.main import run

PAST, FUTURE = "2001-12-31", "2999-12-31"


@pytest.fixture
def bundle(write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path) -> Path:
    pack(write_tiny(b"weights" * 300), tiny, tmp_path / "tiny.edgeai")
    return tmp_path / "tiny.edgeai"


@pytest.fixture
def key(tmp_path: Path) -> Callable[[str], KeyPair]:
    """A trusted pair by name."""

    def make(name: str) -> KeyPair:
        pair = make_keys(name, tmp_path / "made")
        (tmp_path / "trust").mkdir(exist_ok=True)
        (tmp_path / "trust" / f"{name}.pub").write_bytes(pair.public.path.read_bytes())
        return pair

    return make


@pytest.fixture
def bound(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "trust").mkdir(exist_ok=True)
        (tmp_path / "trust" / BOUNDS_NAME).write_text(text)
        return tmp_path / "trust"

    return write


def sign(bundle: Path, *pairs: KeyPair) -> None:
    for pair in pairs:
        sign_bundle(bundle, signer_of(str(pair.private), str))


def signers(bundle: Path, tmp_path: Path, threshold: int = 1, unsigned: Any = "refuse") -> set[str]:
    """Who counts, by every way to the bundle."""
    trust = TrustPolicy(keys=(tmp_path / "trust",), threshold=threshold, unsigned=unsigned)
    opened = open_bundle(bundle, trust=trust, cache_dir=tmp_path / "cache")
    assert open_bundle(opened.root, trust=trust).signers == opened.signers
    return {signer.name for signer in opened.signers}


def refusal(bundle: Path, tmp_path: Path, threshold: int = 1) -> BundleRejected:
    """Every way to a bundle refuses alike, and nothing that was refused is unpacked."""
    trust = TrustPolicy(keys=(tmp_path / "trust",), threshold=threshold)
    unpacked = open_bundle(bundle, cache_dir=tmp_path / "untrusting").root
    caught = []
    for ask in (
        lambda: read_manifest(bundle, trust=trust),
        lambda: read_manifest(unpacked, trust=trust),
        lambda: open_bundle(bundle, trust=trust, cache_dir=tmp_path / "refusing"),
        lambda: open_bundle(unpacked, trust=trust),
    ):
        with pytest.raises(BundleRejected) as error:
            ask()
        caught.append(error.value)
    assert len({error.code for error in caught}) == 1
    assert not list((tmp_path / "refusing").glob("[0-9a-f]*"))
    assert caught[0].remedy
    return caught[0]


# --- models -------------------------------------------------------------------------------------------


def test_a_key_counts_for_the_models_that_it_is_bound_to(bundle: Path, key: Any, bound: Any, tmp_path: Path) -> None:
    sign(bundle, key("one"), key("two"))
    bound('[keys.one]\nmodels = ["other", "tiny"]\n[keys.two]\nmodels = ["other"]\n')
    assert signers(bundle, tmp_path) == {"one"}
    error = refusal(bundle, tmp_path, threshold=2)
    assert error.code == "bundle.signer-elsewhere"
    for word in ("two", "other", "tiny"):
        assert word in str(error)
    assert signers(bundle, tmp_path, unsigned="accept") == {"one"}


def test_a_name_is_the_whole_name(bundle: Path, key: Any, bound: Any, tmp_path: Path) -> None:
    sign(bundle, key("one"))
    bound('[keys.one]\nmodels = ["tin", "tiny2", "ti"]\n')
    assert refusal(bundle, tmp_path).code == "bundle.signer-elsewhere"
    assert signers(bundle, tmp_path, unsigned="accept") == set()


def test_the_manifest_of_a_bundle_that_no_trusted_key_signed_is_not_parsed_for_its_name(
    bundle: Path, key: Any, bound: Any, tmp_path: Path
) -> None:
    """What is signed by nobody may say what it likes: it is refused before anybody reads it."""
    sign(bundle, make_keys("stranger", tmp_path / "made"))
    key("one")
    bound('[keys.one]\nmodels = ["tiny"]\n')
    assert refusal(bundle, tmp_path).code == "bundle.untrusted"


# --- ends ---------------------------------------------------------------------------------------------


def test_a_key_counts_to_the_end_of_its_last_day() -> None:
    bounds = Bounds(ends=date(2027, 6, 30))
    assert not bounds.is_over(datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC))
    assert bounds.is_over(datetime(2027, 7, 1, 0, 0, 0, tzinfo=UTC))
    east = datetime(2027, 7, 1, 1, 0, 0, tzinfo=datetime.strptime("+0200", "%z").tzinfo)
    assert not bounds.is_over(east), "days are those of UTC, wherever the cart stands"
    assert not Bounds().is_over(datetime(9999, 12, 31, tzinfo=UTC))
    assert not Bounds(ends=date(9999, 12, 31)).is_over(datetime(9999, 12, 31, tzinfo=UTC))


def test_the_signature_of_a_key_that_has_ended_does_not_count(
    bundle: Path, key: Any, bound: Any, tmp_path: Path
) -> None:
    sign(bundle, key("old"), key("new"))
    bound(f"[keys.old]\nends = {PAST}\n[keys.new]\nends = {FUTURE}\n")
    assert signers(bundle, tmp_path) == {"new"}
    error = refusal(bundle, tmp_path, threshold=2)
    assert error.code == "bundle.signer-expired"
    assert "old" in str(error)
    assert PAST in str(error)
    assert signers(bundle, tmp_path, unsigned="accept") == {"new"}
    bound(f"[keys.old]\nends = {FUTURE}\n")
    assert signers(bundle, tmp_path, threshold=2) == {"old", "new"}


def test_what_was_missing_anyway_is_not_laid_on_an_end(bundle: Path, key: Any, bound: Any, tmp_path: Path) -> None:
    sign(bundle, key("old"))
    bound(f"[keys.old]\nends = {PAST}\n")
    error = refusal(bundle, tmp_path, threshold=2)
    assert error.code == "bundle.untrusted"
    assert PAST in str(error), "said all the same"


def test_a_bad_signature_stays_bad_whatever_its_key_is_bound_to(
    bundle: Path, key: Any, bound: Any, tmp_path: Path
) -> None:
    from edgeai.testing.bundles import change_member

    sign(bundle, key("old"))
    bound(f'[keys.old]\nends = {PAST}\nmodels = ["other"]\n')

    def spoil(data: bytes) -> bytes:
        body = json.loads(data)
        body["signatures"][0]["sig"] = "A" * 86 + "=="
        return json.dumps(body).encode()

    change_member(bundle, "signatures.json", spoil)
    assert refusal(bundle, tmp_path).code == "bundle.bad-signature"


def test_without_the_file_nothing_is_bound(bundle: Path, key: Any, tmp_path: Path) -> None:
    sign(bundle, key("one"))
    assert signers(bundle, tmp_path) == {"one"}
    [read] = read_keys([tmp_path / "trust"])
    assert read.bounds == Bounds()


def test_the_file_binds_a_key_that_is_named_alone_too(bundle: Path, key: Any, bound: Any, tmp_path: Path) -> None:
    sign(bundle, key("one"), key("two"))
    bound('[keys.one]\nmodels = ["other"]\n')
    for name, trusted in (("one", ()), ("two", (SignerRef(name="two", key_id=key_id(tmp_path, "two")),))):
        trust = TrustPolicy(keys=(tmp_path / "trust" / f"{name}.pub",), unsigned="accept")
        assert open_bundle(bundle, trust=trust, cache_dir=tmp_path / "cache").signers == trusted


def key_id(tmp_path: Path, name: str) -> str:
    [key] = read_keys([tmp_path / "trust" / f"{name}.pub"])
    return key.key_id


def test_one_key_in_two_files_has_one_bound(bundle: Path, key: Any, bound: Any, tmp_path: Path) -> None:
    pair = key("one")
    (tmp_path / "trust" / "copy.pem").write_bytes(pair.public.path.read_bytes())
    sign(bundle, pair)
    bound('[keys.one]\nmodels = ["tiny"]\n[keys.copy]\nmodels = ["tiny"]\n')
    assert len(signers(bundle, tmp_path)) == 1
    bound('[keys.one]\nmodels = ["other"]\n')
    with pytest.raises(ConfigError, match=r"one.*copy|copy.*one") as caught:
        read_keys([tmp_path / "trust"])
    assert caught.value.code == "keys.bounds"


# --- the file -----------------------------------------------------------------------------------------

WRONG = [
    ("[keys.one\n", "not TOML"),
    ("schema = 2\n", "trust.toml:1: schema"),
    ("schema = true\n", "trust.toml:1: schema"),
    ("\nkey = 1\n", 'trust.toml:2: key: unknown key; did you mean "keys"?'),
    ("keys = 3\n", "trust.toml:1: keys"),
    ('\n"key\\u0073" = 3\n', "trust.toml:1: keys"),  # whose line nobody finds
    ("[keys]\none = 3\n", "trust.toml:2: keys.one"),
    ("[keys.onn]\n", 'trust.toml:1: keys.onn: no key file of that name lies beside it; did you mean "one"?'),
    ('[keys.one]\n\nmodel = ["a"]\n', 'trust.toml:3: keys.one.model: unknown key; did you mean "models"?'),
    ('[keys.one]\nends = "2027-12-31"\n', "trust.toml:2: keys.one.ends"),
    ("[keys.one]\nends = 2027-12-31T00:00:00Z\n", "trust.toml:2: keys.one.ends"),
    ("[keys.one]\nends = 1830297600\n", "trust.toml:2: keys.one.ends"),
    ("[keys.one]\nmodels = []\n", "trust.toml:2: keys.one.models"),
    ('[keys.one]\nmodels = "tiny"\n', "trust.toml:2: keys.one.models"),
    ("[keys.one]\nmodels = [1]\n", "trust.toml:2: keys.one.models"),
    ('[keys.one]\nmodels = ["Tiny"]\n', "trust.toml:2: keys.one.models"),
    ('[keys.one]\nmodels = ["ti*"]\n', "trust.toml:2: keys.one.models"),
    ('[keys.one]\nmodels = ["tiny", "tiny"]\n', "trust.toml:2: keys.one.models"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=range(len(WRONG)))
def test_a_mistake_is_refused_with_its_line(key: Any, bound: Any, tmp_path: Path, text: str, says: str) -> None:
    key("one")
    bound(text)
    with pytest.raises(ConfigError) as caught:
        read_keys([tmp_path / "trust"])
    assert caught.value.code == "keys.bounds"
    assert says in str(caught.value), str(caught.value)


def test_all_mistakes_are_said_at_once_and_nothing_is_trusted_meanwhile(
    bundle: Path, key: Any, bound: Any, tmp_path: Path
) -> None:
    sign(bundle, key("one"))
    bound('keys.one = 3\n[keys.two]\nends = 5\nmodels = []\n[keys.three]\nmodels = ["tiny"]\n')
    with pytest.raises(ConfigError) as caught:
        signers(bundle, tmp_path)
    told = str(caught.value)
    assert all(key_path in told for key_path in ("keys.one", "keys.two.ends", "keys.two.models", "keys.three")), told


def test_a_file_that_cannot_be_read(key: Any, tmp_path: Path) -> None:
    key("one")
    path = tmp_path / "trust" / BOUNDS_NAME
    for spoil in (lambda: path.write_bytes(b"\xff\xfe"), lambda: (path.unlink(), path.mkdir())):
        spoil()
        with pytest.raises(ConfigError) as caught:
            read_keys([tmp_path / "trust"])
        assert caught.value.code == "keys.bounds"


@pytest.mark.parametrize("more", [0, 1, 2_000_000])
def test_a_bound_behind_a_megabyte_of_comment_is_no_bound_that_is_forgotten(
    bundle: Path, key: Any, bound: Any, tmp_path: Path, more: int
) -> None:
    sign(bundle, key("one"))
    entry = '[keys.one]\nmodels = ["other"]\n'
    bound("#" * ((1 << 20) - len(entry) - 1 + more) + "\n" + entry)
    if more == 0:
        assert refusal(bundle, tmp_path).code == "bundle.signer-elsewhere"
        return
    with pytest.raises(ConfigError, match="more than 1048576 bytes") as caught:
        signers(bundle, tmp_path)
    assert caught.value.code == "keys.bounds"


@pytest.mark.parametrize("text", ["", "schema = 1\n", "[keys]\n", "[keys.one]\n", '[keys."one"]\n'])
def test_a_file_that_binds_nothing(bundle: Path, key: Any, bound: Any, tmp_path: Path, text: str) -> None:
    sign(bundle, key("one"))
    bound(text)
    assert signers(bundle, tmp_path) == {"one"}


# --- who shows it -------------------------------------------------------------------------------------


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def calling(*words: object) -> tuple[int, str, str]:
        status = run([str(word) for word in words])
        printed = capfd.readouterr()
        return status, " ".join(printed.out.split()), printed.err

    return calling


def test_the_commands_say_what_a_key_is_bound_to(call: Any, bundle: Path, key: Any, bound: Any, tmp_path: Path) -> None:
    sign(bundle, key("old"), key("new"), key("other"))
    new = f'[keys.new]\nends = {FUTURE}\nmodels = ["tiny"]\n'
    trust = bound(f'[keys.old]\nends = {PAST}\n{new}[keys.other]\nmodels = ["b"]\n')
    status, printed, _ = call("verify", bundle, "--trust", trust)
    assert status == 0
    for words in (f"ended on {PAST}", f"until {FUTURE}", "not of this model", "1 of 1 needed"):
        assert words in printed, printed
    status, printed, error = call("verify", bundle, "--trust", trust, "--threshold", 2)
    assert (status, "bundle.signer-elsewhere" in error) == (1, True)
    assert "bundle.signer-expired" in call("verify", bundle, "--trust", trust, "--threshold", 3)[2]
    body = json.loads(call("verify", bundle, "--trust", trust, "--json")[1])
    verdicts = {item["name"]: (item["verdict"], item["models"], item["ends"]) for item in body["signatures"]}
    assert verdicts == {
        "old": ("expired", [], PAST),
        "new": ("good", ["tiny"], FUTURE),
        "other": ("elsewhere", ["b"], None),
    }
    assert body["trusted"] is True
    status, printed, _ = call("inspect", bundle, "--trust", trust)
    for words in (
        f"old: good, but its trust ended on {PAST}",
        f"new: good, for tiny, until {FUTURE}",
        "other: good, but",
    ):
        assert words in printed, printed
    assert "not checked here" in call("inspect", bundle)[1]


def test_keys_list(call: Any, key: Any, bound: Any, tmp_path: Path) -> None:
    for name in ("old", "new", "free"):
        key(name)
    soon = (datetime.now(UTC) + timedelta(days=5)).date()
    trust = bound(f'[keys.old]\nends = {PAST}\n[keys.new]\nends = {soon}\nmodels = ["a", "b"]\n')
    status, printed, _ = call("keys", "list", trust)
    assert status == 0
    for words in ("free", "any model", f"ended on {PAST}", "a, b", f"until {soon}", key_id(tmp_path, "new")):
        assert words in printed, printed
    body = json.loads(call("keys", "list", trust, "--json")[1])
    assert [(item["name"], item["models"], item["ends"], item["counts"]) for item in body] == [
        ("free", [], None, True),
        ("new", ["a", "b"], str(soon), True),
        ("old", [], PAST, False),
    ]
    bound("[keys.none]\n")
    status, _, error = call("keys", "list", trust)
    assert (status, "keys.bounds" in error) == (2, True)
    assert call("keys", "list", tmp_path / "missing")[0] == 2
