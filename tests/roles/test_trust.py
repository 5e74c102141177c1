"""A running cart and signatures: it runs what is signed, fails aloud what is not, and every result says who signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeai.bundle.keys import KeyPair, make_keys
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.config import load_config
from edgeai.health import read_health
from edgeai.roles.on_disk import eligibilities

SCHEMAS = Path(__file__).resolve().parents[2] / "edgeai" / "schemas"


@pytest.fixture
def pair(cart: Any) -> KeyPair:
    """A key, trusted by the cart, whose profile refuses what is not signed."""
    made = make_keys("release", cart.folder / "made")
    (cart.folder / "trust").mkdir()
    (cart.folder / "trust" / "release.pub").write_bytes(made.public.path.read_bytes())
    cart.configure(more="[trust]\nthreshold = 1\n")
    return made


def test_an_unsigned_bundle_holds_its_jobs_and_they_run_once_it_is_signed(cart: Any, pair: KeyPair, until: Any) -> None:
    cart.start()
    early = cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == "bundle.unsigned"
    assert cart.results() == []
    sign_bundle(cart.folder / "guard.edgeai", signer_of(str(pair.private), str))
    result = cart.result_of(early)  # it looks again by itself
    assert result["outcome"] == "completed"
    assert result["model"]["signers"] == [{"name": "release", "key_id": pair.public.key_id}]
    Draft202012Validator(json.loads((SCHEMAS / "result-2.json").read_text())).validate(result)
    [deployment] = read_health(cart.spool, load_config(cart.profile)).deployments
    assert deployment.signers == (f"release {pair.public.key_id}",)
    status = json.loads((SCHEMAS / "status-1.json").read_text())
    assert status["properties"]["deployments"]["items"]["properties"]["signers"]["type"] == "array"


def test_ingest_knows_no_eligibility_of_a_bundle_that_is_not_trusted(cart: Any, pair: KeyPair) -> None:
    """So that its instances become jobs, which fail aloud, and none is passed over by a stranger's word."""
    config = load_config(cart.profile)
    rules, faults = eligibilities(config)
    assert rules == {"guard": None}
    assert faults["guard"].code == "bundle.unsigned"
    sign_bundle(cart.folder / "guard.edgeai", signer_of(str(pair.private), str))
    rules, faults = eligibilities(config)
    assert rules["guard"] is not None
    assert not faults
    (cart.folder / "trust" / "junk.pem").write_text("junk")
    assert eligibilities(config)[1]["guard"].code == "keys.not-public"


@pytest.mark.parametrize(
    ("bounds", "code"),
    [('models = ["another-model"]', "bundle.signer-elsewhere"), ("ends = 2001-12-31", "bundle.signer-expired")],
)
def test_a_key_that_may_not_sign_it_holds_its_jobs_until_trust_toml_says_otherwise(
    cart: Any, pair: KeyPair, until: Any, bounds: str, code: str
) -> None:
    sign_bundle(cart.folder / "guard.edgeai", signer_of(str(pair.private), str))
    path = cart.folder / "trust" / "trust.toml"
    path.write_text(f"[keys.release]\n{bounds}\n")
    assert eligibilities(load_config(cart.profile))[1]["guard"].code == code
    cart.start()
    waiting = cart.admit()
    [event] = until(lambda: cart.events("deployment.held"))
    assert event["facts"]["code"] == code
    path.write_text('[keys.release]\nmodels = ["guard-model"]\nends = 2999-12-31\n')
    assert cart.result_of(waiting)["model"]["signers"] == [{"name": "release", "key_id": pair.public.key_id}]
