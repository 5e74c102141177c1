"""A port that cannot be listened on: who has it, and what to do."""

from __future__ import annotations

import errno
import getpass
import os
import socket
import subprocess
import sys

import pytest

from edgeai import ports

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


def refused(host: str, port: int) -> OSError:
    with pytest.raises(OSError) as caught:
        socket.create_server((host, port))
    return caught.value


def test_another_process_is_named() -> None:
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        cause, remedy = ports.why_not(refused("127.0.0.1", port), port)
        child.communicate("")
    assert f"(pid {child.pid})" in cause
    assert cause.startswith("it is taken by ")
    assert str(port) in remedy


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_of_a_process_that_cannot_be_seen_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily
) -> None:
    monkeypatch.setattr(ports, "_processes", lambda inodes: iter(()))
    try:
        server = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
    except OSError:
        pytest.skip("no such addresses on this machine")
    with server:
        cause, _ = ports.why_not(OSError(errno.EADDRINUSE, "in use"), server.getsockname()[1])
    assert cause == f"it is taken by a process of the user {getpass.getuser()}"


def test_one_that_is_bound_without_listening_has_no_name() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        assert ports.why_not(refused("127.0.0.1", port), port)[0] == "it is taken"


def test_its_own_listener_is_named_once_however_many_descriptors_it_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.fromfd(server.fileno(), server.family, server.type):
        cause, _ = ports.why_not(OSError(errno.EADDRINUSE, "in use"), server.getsockname()[1])
    assert cause.count(f"(pid {os.getpid()})") == 1


def test_other_causes_have_remedies_of_their_own() -> None:
    cause, remedy = ports.why_not(refused("192.0.2.77", 0), 11112)
    assert "no such address" in cause
    assert "0.0.0.0" in remedy
    cause, remedy = ports.why_not(PermissionError(errno.EACCES, "Permission denied"), 104)
    assert "may not" in cause
    assert "CAP_NET_BIND_SERVICE" in remedy
    cause, remedy = ports.why_not(socket.gaierror(-2, "Name or service not known"), 104)
    assert "Name or service not known" in cause
    cause, remedy = ports.why_not(OSError(errno.EMFILE, "Too many open files"), 104)
    assert cause == "Too many open files"
    assert remedy
