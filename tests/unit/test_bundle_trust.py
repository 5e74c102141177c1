"""Whose signature counts: keys in several places, thresholds, ends and models, without a bundle around them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from edgeai.api import BundleRejected, ConfigError
from edgeai.bundle.bounds import Bounds
from edgeai.bundle.envelope import Envelope, SignatureDecl, decode_envelope, encode_envelope
from edgeai.bundle.keys import KeyPair, key_files, make_keys, read_keys
from edgeai.bundle.trust import Signatures, TrustPolicy, check_signatures

MANIFEST = b'{"name":"tiny"}'
Pair = Callable[[str], KeyPair]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return lambda name: make_keys(name, tmp_path / "made")


def trusted(folder: Path, *pairs: KeyPair, bounds: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for each in pairs:
        (folder / each.public.path.name).write_bytes(each.public.path.read_bytes())
    if bounds:
        (folder / "trust.toml").write_text(bounds)
    return folder


def signed(*pairs: KeyPair, manifest: bytes = MANIFEST, payload_type: str | None = None) -> Envelope:
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.signer import CryptoSigner

    from edgeai.bundle.envelope import PAYLOAD_TYPE

    signatures = []
    for each in pairs:
        signer = CryptoSigner.from_priv_key_uri(f"file2:{each.private}", each.public.key)
        made = Dsse(manifest, payload_type or PAYLOAD_TYPE, {}).sign(signer)
        sig = base64.b64encode(bytes.fromhex(made.signature)).decode()
        signatures.append(SignatureDecl(keyid=each.public.key_id, sig=sig))
    return decode_envelope(encode_envelope(MANIFEST, signatures), MANIFEST)


def checked(envelope: Envelope | None, *keys: Path, threshold: int = 1, unsigned: str = "refuse") -> Signatures:
    policy = TrustPolicy(keys=keys, threshold=threshold, unsigned=unsigned)  # type: ignore[arg-type]
    return policy.check(envelope, MANIFEST, "tiny.edgeai")


def refusal(envelope: Envelope | None, *keys: Path, **more: object) -> BundleRejected:
    with pytest.raises(BundleRejected) as caught:
        checked(envelope, *keys, **more)  # type: ignore[arg-type]
    return caught.value


# --- several places -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_a_key_in_any_of_several_places_counts(pair: Pair, tmp_path: Path, order: tuple[int, ...]) -> None:
    """One folder has the key, one is empty, one is not there at all; a file stands for itself."""
    one = pair("one")
    (tmp_path / "empty").mkdir()
    places = [trusted(tmp_path / "trust", one), tmp_path / "empty", tmp_path / "absent"]
    signatures = checked(signed(one), *(places[index] for index in order))
    assert [signer.name for signer in signatures.by("tiny")] == ["one"]


def test_keys_of_all_places_count_together(pair: Pair, tmp_path: Path) -> None:
    one, two, three = pair("one"), pair("two"), pair("three")
    first, second = trusted(tmp_path / "first", one), trusted(tmp_path / "second", two)
    names = [signer.name for signer in checked(signed(one, two), first, second, threshold=2).by("tiny")]
    assert sorted(names) == ["one", "two"]
    assert refusal(signed(one, two), first, threshold=2).code == "bundle.untrusted"
    as_file = three.public.path
    assert len(checked(signed(one, two, three), first, second, as_file, threshold=3).by("tiny")) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_places_without_a_key_trust_nobody_and_are_named(pair: Pair, tmp_path: Path, count: int) -> None:
    places = [tmp_path / f"place-{n}" for n in range(count)]
    for place in places[1:]:
        place.mkdir()
    error = refusal(signed(pair("one")), *places)
    assert error.code == "bundle.untrusted"
    assert f"there is no key in {', '.join(map(str, places))}" in str(error)
    assert "no key was named" in str(refusal(signed(pair("two"))))


def test_where_one_of_several_places_has_a_key_none_is_called_empty(pair: Pair, tmp_path: Path) -> None:
    known, stranger = pair("known"), pair("stranger")
    (tmp_path / "empty").mkdir()
    error = refusal(signed(stranger), tmp_path / "empty", trusted(tmp_path / "trust", known))
    assert "trusted are the keys in" in str(error)
    assert "there is no key" not in str(error)


def test_what_lies_beside_keys_is_none(pair: Pair, tmp_path: Path) -> None:
    folder = trusted(tmp_path / "trust", pair("b"), pair("a"))
    (folder / "README.md").write_text("x")
    (folder / ".hidden.pub").write_text("x")
    assert [path.name for path in key_files(folder)] == ["a.pub", "b.pub"]
    assert [key.name for key in read_keys([folder, folder / "a.pub", tmp_path / "absent"])] == ["a", "b"]


# --- how many -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signers", "threshold", "good"), [(1, 1, True), (1, 2, False), (2, 2, True), (3, 2, True)])
def test_so_many_keys_must_have_signed(pair: Pair, tmp_path: Path, signers: int, threshold: int, good: bool) -> None:
    pairs = [pair(f"key-{n}") for n in range(3)]
    folder = trusted(tmp_path / "trust", *pairs)
    envelope = signed(*pairs[:signers])
    if good:
        assert len(checked(envelope, folder, threshold=threshold).by("tiny")) == signers
    else:
        error = refusal(envelope, folder, threshold=threshold)
        assert error.code == "bundle.untrusted"
        assert f"{signers} of {threshold} trusted signatures needed" in str(error)


def test_where_nobody_says_how_many_one_signature_is_enough(pair: Pair, tmp_path: Path) -> None:
    one = pair("one")
    policy = TrustPolicy(keys=(trusted(tmp_path / "trust", one, pair("two")),))
    assert len(policy.check(signed(one), MANIFEST, "tiny.edgeai").by("tiny")) == 1


def test_strangers_are_told_last_and_by_sixteen_digits(pair: Pair, tmp_path: Path) -> None:
    known, stranger = pair("known"), pair("stranger")
    message = str(refusal(signed(stranger, known), trusted(tmp_path / "trust", known), threshold=2))
    assert f"signed by known ({known.public.key_id[:16]}), {stranger.public.key_id[:16]} (not trusted)" in message


def test_one_bad_signature_spoils_good_ones_whatever_is_accepted(pair: Pair, tmp_path: Path) -> None:
    one, two = pair("one"), pair("two")
    good, other = signed(one), signed(two, manifest=b'{"name":"other"}')
    both = Envelope(payload=good.payload, payload_type=good.payload_type, signatures=good.signatures + other.signatures)
    folder = trusted(tmp_path / "trust", one, two)
    for unsigned in ("refuse", "accept"):
        error = refusal(both, folder, unsigned=unsigned)
        assert error.code == "bundle.bad-signature"
        assert f"two ({two.public.key_id[:16]})" in str(error)
        assert "one (" not in str(error)


def test_no_signature_at_all(pair: Pair, tmp_path: Path) -> None:
    folder = trusted(tmp_path / "trust", pair("one"))
    assert refusal(None, folder).code == "bundle.unsigned"
    accepted = checked(None, folder, unsigned="accept")
    assert (accepted.seen, accepted.by("tiny")) == ((), ())


def test_without_a_key_a_signature_is_of_a_stranger(pair: Pair, tmp_path: Path) -> None:
    one = pair("one")
    seen = checked(signed(one), tmp_path / "absent", unsigned="accept").seen
    assert [(item.verdict, item.key, item.key_id) for item in seen] == [("unknown", None, one.public.key_id)]


# --- until when, and for what -------------------------------------------------------------------------


def ends_in(days: int) -> str:
    return f"[keys.one]\nends = {(datetime.now(UTC) + timedelta(days=days)).date()}\n"


def test_the_last_day_counts_and_the_day_after_does_not(pair: Pair, tmp_path: Path) -> None:
    one = pair("one")
    until = Bounds(ends=date(2027, 12, 31))
    assert not until.is_over(datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert until.is_over(datetime(2028, 1, 1, tzinfo=UTC))
    assert not Bounds().is_over(datetime(2999, 1, 1, tzinfo=UTC))
    folder = trusted(tmp_path / "trust", one, bounds=ends_in(2))
    assert [signer.name for signer in checked(signed(one), folder).by("tiny")] == ["one"]


def test_a_signature_whose_keys_trust_has_ended_is_told_apart_from_a_strangers(pair: Pair, tmp_path: Path) -> None:
    one, two = pair("one"), pair("two")
    folder = trusted(tmp_path / "trust", one, two, bounds=ends_in(-2))
    error = refusal(signed(one), folder)
    assert error.code == "bundle.signer-expired"
    assert "whose trust ended on" in str(error)
    assert "0 of 1" in str(error)
    assert refusal(signed(one, two), folder, threshold=2).code == "bundle.signer-expired"
    assert refusal(signed(one), folder, threshold=2).code == "bundle.untrusted", "it would not be enough in time either"
    assert [signer.name for signer in checked(signed(one, two), folder).by("tiny")] == ["two"]
    assert checked(signed(one), folder, unsigned="accept").by("tiny") == ()


def test_a_key_that_is_bound_to_models_counts_for_those_alone(pair: Pair, tmp_path: Path) -> None:
    one, two = pair("one"), pair("two")
    folder = trusted(tmp_path / "trust", one, two, bounds='[keys.one]\nmodels = ["tiny", "head"]\n')
    alone = checked(signed(one), folder)
    assert [signer.name for signer in alone.by("tiny")] == ["one"]
    with pytest.raises(BundleRejected) as caught:
        alone.by("window")
    assert caught.value.code == "bundle.signer-elsewhere"
    assert "0 of 1 signatures needed" in str(caught.value)
    assert f"one ({one.public.key_id[:16]}) only for tiny, head" in str(caught.value)
    both = checked(signed(one, two), folder)
    assert [signer.name for signer in both.by("window")] == ["two"]
    assert len(both.by("tiny")) == 2
    assert checked(signed(one), folder, unsigned="accept").by("window") == ()
    with pytest.raises(BundleRejected):
        checked(signed(one, two), folder, threshold=2).by("window")


def test_verdicts_come_in_the_envelopes_order(pair: Pair, tmp_path: Path) -> None:
    one, two = pair("one"), pair("two")
    envelope = signed(one, two)
    keys = read_keys([trusted(tmp_path / "trust", two)])
    wanted = [(item.keyid, "good" if item.keyid == two.public.key_id else "unknown") for item in envelope.signatures]
    assert [(item.key_id, item.verdict) for item in check_signatures(envelope, MANIFEST, keys)] == wanted
    assert all(item.verdict != "good" for item in check_signatures(envelope, b"{}", keys))


def test_a_mistake_in_trust_toml_is_told_with_its_line(pair: Pair, tmp_path: Path) -> None:
    text = '# who may sign what\n[keys.one]\nmodels = ["tiny"]\nend = 2027-12-31\n\n[keys.two]\nmodels = []\n'
    folder = trusted(tmp_path / "trust", pair("one"), bounds=text)
    with pytest.raises(ConfigError) as caught:
        read_keys([folder])
    assert caught.value.code == "keys.bounds"
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["trust.toml:4", "trust.toml:6", "trust.toml:7"]
    assert 'did you mean "ends"?' in lines[0]
