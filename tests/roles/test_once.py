"""On the way of an image through infer nothing is worked out twice: header, eligibility, UIDs and result id."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import edgeai.model.results
import edgeai.model.running
import edgeai.privacy
from edgeai.bundle.manifest import Eligibility
from edgeai.config import load_config
from edgeai.model.results import result_id
from edgeai.privacy import UidMask
from edgeai.roles.infer import Worker
from edgeai.spool import Spool

KEY = "0123456789abcdef" * 4
HIDDEN = '\n[privacy]\nuids = "hmac"\nhmac_key_file = "key"\n'
UIDS = 4
"""SOP Class, SOP Instance, Series and Study."""


@contextmanager
def serving(cart: Any) -> Iterator[Worker]:
    """The role in this process, so that its calls can be counted."""
    config = load_config(cart.profile)
    made = threading.Event()
    workers: list[Worker] = []

    def serve() -> None:
        spool = Spool.of(config)
        try:
            workers.append(Worker(config, config.deployments[0], spool, UidMask.of(config.privacy)))
            made.set()
            workers[0].serve()
        finally:
            spool.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert made.wait(240)
        yield workers[0]
    finally:
        workers[0].on_stop(15, None)
        thread.join()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each was called."""
    calls: Counter[str] = Counter()

    def spy(where: Any, name: str, says: str) -> None:
        whole: Callable[..., Any] = getattr(where, name)

        def counting(*more: Any, **options: Any) -> Any:
            calls[says] += 1
            return whole(*more, **options)

        monkeypatch.setattr(where, name, counting)

    spy(edgeai.model.running, "read_header", "header")
    spy(Eligibility, "why_not", "eligibility")
    spy(edgeai.model.results, "uuid_of", "result id")
    spy(edgeai.model.results, "ids_of", "plain UIDs")
    spy(edgeai.privacy.hmac, "new", "masked UIDs")
    return calls


def _done(cart: Any) -> list[Any]:
    return [item for item in cart.spool.recent(99) if item.outcome]


@pytest.mark.parametrize("images", [1, 12])
def test_a_job_is_named_once_and_its_header_read_once(
    cart: Any, until: Any, counted: Counter[str], monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    """One by one, and in a row."""
    monkeypatch.syspath_prepend(str(cart.plugins))
    (cart.folder / "key").write_text(KEY)
    cart.configure(more=HIDDEN)
    for _ in range(images):
        cart.admit()
    with serving(cart):
        until(lambda: len(_done(cart)) == images)
    sys.modules.pop("fakes", None)
    assert counted == {
        "header": images,
        "eligibility": images,
        "result id": images,
        "masked UIDs": images * (UIDS + 1),  # and the content
    }


def test_the_id_is_of_what_leaves_whatever_became_of_the_file(cart: Any, until: Any) -> None:
    """The instance is the one that was admitted, also where its file does not decode, or is gone."""
    (cart.folder / "key").write_text(KEY)
    cart.configure(more=HIDDEN)
    sent = [cart.admit(attributes=attributes) for attributes in ({}, {"PixelData": b"\0"}, {})]
    max(cart.spool.instances.iterdir(), key=lambda path: path.stat().st_mtime_ns).unlink()
    cart.start()
    until(lambda: len(cart.results()) == len(sent))
    mask = UidMask(KEY.encode())
    by_uid = {result["instance"]["sop_instance_uid"]: result for result in cart.results()}
    for phantom in sent:
        masked = mask.ids(phantom.instance)
        result = by_uid[masked.sop_instance_uid]
        assert result["instance"]["study_instance_uid"] == masked.study_instance_uid
        digest, content = result["model"]["digest"], result["instance"]["content"]
        assert content
        assert result["result_id"] == result_id(masked.sop_instance_uid, digest, "guard", content)
    assert sorted(result["outcome"] for result in by_uid.values()) == ["completed", "failed", "failed"]
    assert cart.stop() == 0
