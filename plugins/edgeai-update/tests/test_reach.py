"""How a server is reached: by TLS that the profile's authority signed, by a proxy, and in no other way."""

from __future__ import annotations

import base64
import os
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgeai.api import ConfigError
from edgeai.testing.certificates import Authority
from edgeai.testing.scripted_server import ScriptedServer, Way
from edgeai_update.errors import UpdateError
from edgeai_update.web import Manners, WebSource


class Proxy(socketserver.ThreadingTCPServer):
    """Passes requests on, by CONNECT and by absolute address; remembers the first line of each."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.heads: list[bytes] = []
        self.refuses = False
        super().__init__(("127.0.0.1", 0), _Passing)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        proxy = self.server
        assert isinstance(proxy, Proxy)
        line = self.rfile.readline().decode()
        proxy.lines.append(line.strip())
        method, target, _ = line.split()
        head = b""
        while (each := self.rfile.readline()) not in (b"\r\n", b""):
            head += each
        proxy.heads.append(head)
        if proxy.refuses:
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        where = urlsplit(f"//{target}" if method == "CONNECT" else target)
        with socket.create_connection((where.hostname or "", where.port or 80), 10) as other:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                other.sendall(f"{method} {where.path} HTTP/1.1\r\n".encode() + head + b"\r\n")
            self.pass_on(other)

    def pass_on(self, other: socket.socket) -> None:
        ends = {self.connection: other, other: self.connection}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                data = end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    (tmp_path / "public/metadata").mkdir(parents=True)
    (tmp_path / "public/metadata/timestamp.json").write_bytes(b"the newest")
    return tmp_path / "public"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(public: Path, authority: Authority) -> Iterator[ScriptedServer]:
    identity = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with ScriptedServer(public, context) as server:
        yield server


def read(source: WebSource, path: str = "metadata/timestamp.json") -> bytes:
    reply = source.open(path)
    try:
        return b"".join(reply.pieces)
    finally:
        reply.close()


def test_a_server_that_the_profiles_authority_signed_is_read(secure: ScriptedServer, authority: Authority) -> None:
    source = WebSource(secure.url, context=ssl.create_default_context(cafile=str(authority.ca)))
    assert read(source) == b"the newest"
    assert read(source) == b"the newest"
    source.close()


def test_a_server_of_an_unknown_authority_is_not_read(secure: ScriptedServer) -> None:
    with pytest.raises(UpdateError, match="the server's certificate was signed by an unknown authority") as caught:
        read(WebSource(secure.url))
    assert caught.value.code == "update.unreachable"
    assert secure.asked == []


def test_a_server_without_tls_is_not_read_where_tls_was_said(public: Path) -> None:
    with ScriptedServer(public) as plain, pytest.raises(UpdateError, match="does not speak TLS here"):
        read(WebSource(plain.url.replace("http://", "https://")))


def test_a_server_that_speaks_tls_is_said_so_where_tls_was_not_said(secure: ScriptedServer) -> None:
    with pytest.raises(UpdateError, match="hung up without an answer, as one does that speaks TLS here") as caught:
        read(WebSource(secure.url.replace("https://", "http://")))
    assert "write https:// in repository.url" in str(caught.value.remedy)


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that gives each connection its answer, whatever was asked, and hangs up; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                peer, _ = server.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_an_alert_of_tls_in_the_place_of_an_answer_is_known() -> None:
    with (
        answering(b"\x15\x03\x01\x00\x02\x02\x46") as url,
        pytest.raises(UpdateError, match="as one does that speaks TLS here"),
    ):
        read(WebSource(url))


@pytest.mark.parametrize("answer", [b"", b"no http\r\n\r\n"])
def test_a_server_that_has_answered_or_says_something_else_is_not_said_to_speak_tls(answer: bytes) -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", answer) as url:
        source = WebSource(url)
        assert read(source) == b"ok"
        source.close()
        with pytest.raises(UpdateError) as caught:
            read(source)
    assert caught.value.code == "update.unreachable"
    assert "TLS" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://nowhere.invalid/models", "http://127.0.0.1:9", "https://127.0.0.1:9/m"])
def test_where_nobody_is_the_remedy_says_which_key_to_look_at(url: str) -> None:
    with pytest.raises(UpdateError) as caught:
        read(WebSource(url))
    assert caught.value.code == "update.unreachable"
    assert "look at repository.url" in str(caught.value.remedy)
    with pytest.raises(UpdateError) as caught:
        read(WebSource(url, proxy="http://127.0.0.1:9"))
    assert "look at repository.proxy" in str(caught.value.remedy)


def test_a_connection_that_the_server_closed_is_made_anew_by_tls_and_by_nothing_else(
    secure: ScriptedServer, authority: Authority
) -> None:
    source = WebSource(secure.url, context=ssl.create_default_context(cafile=str(authority.ca)))
    secure.ways = [Way("closes", times=2)]
    for _ in range(4):
        assert read(source) == b"the newest"
    source.close()


def test_a_head_that_drips_through_tls_is_given_up(secure: ScriptedServer, authority: Authority) -> None:
    secure.ways = [Way("drips-head")]
    context = ssl.create_default_context(cafile=str(authority.ca))
    with pytest.raises(UpdateError) as caught:
        read(WebSource(secure.url, context=context, manners=Manners(timeout_s=0.5)))
    assert caught.value.code == "update.too-slow"


def test_a_server_that_never_greets_by_tls_is_given_up(public: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = WebSource(f"https://127.0.0.1:{mute.getsockname()[1]}", manners=Manners(timeout_s=0.5))
        with pytest.raises(UpdateError) as caught:
            read(source)
    assert caught.value.code == "update.too-slow"


@pytest.mark.parametrize("by", ["profile", "environment"])
def test_a_proxy_is_asked_for_plain_files_by_their_address(
    public: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    with ScriptedServer(public) as server:
        if by == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        source = WebSource(server.url, proxy=proxy.url if by == "profile" else None)
        assert read(source) == b"the newest"
        source.close()
        assert proxy.lines == [f"GET {server.url}/metadata/timestamp.json HTTP/1.1"]


def test_through_a_proxy_tls_goes_from_end_to_end(
    secure: ScriptedServer, authority: Authority, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    source = WebSource(secure.url, context=ssl.create_default_context(cafile=str(authority.ca)))
    assert read(source) == b"the newest"
    assert read(source) == b"the newest"
    source.close()
    assert proxy.lines == [f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1"]


def test_no_proxy_is_heeded(public: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ScriptedServer(public) as server:
        assert read(WebSource(server.url)) == b"the newest"
    assert proxy.lines == []


def test_a_proxy_that_refuses_is_said_so(secure: ScriptedServer, proxy: Proxy) -> None:
    proxy.refuses = True
    with pytest.raises(UpdateError, match=r"through the proxy 127.0.0.1:\d+: the proxy answered 407") as caught:
        read(WebSource(secure.url, proxy=proxy.url))
    assert caught.value.code == "update.unreachable"


def test_a_proxy_that_is_not_there_is_said_so(public: Path) -> None:
    with ScriptedServer(public) as server, pytest.raises(UpdateError, match=r"through the proxy 127.0.0.1:9: "):
        read(WebSource(server.url, proxy="http://127.0.0.1:9"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_told_who_we_are_where_the_environment_says_it_and_the_server_is_not(
    public: Path,
    secure: ScriptedServer,
    authority: Authority,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("http://", "http://ward:p%40ss@"))
    with ScriptedServer(public) as plain:
        server = secure if scheme == "https" else plain
        source = WebSource(server.url, context=ssl.create_default_context(cafile=str(authority.ca)))
        assert read(source) == b"the newest"
        source.close()
    told = base64.b64encode(b"ward:p@ss").decode()
    assert f"Proxy-Authorization: Basic {told}".encode() in proxy.heads[0]
    if scheme == "https":
        assert "Proxy-Authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    "named", ["socks5://ward:secret@proxy:1080", "http://ward:secret@proxy:abc", "https://proxy:3128"]
)
def test_a_proxy_of_another_kind_is_said_so_without_its_password(
    public: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("all_proxy", named)
    with pytest.raises(ConfigError) as caught:
        WebSource("https://models.example/edgeai")
    assert caught.value.code == "update.proxy"
    assert "secret" not in str(caught.value)
