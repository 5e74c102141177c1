"""A real PostgreSQL server as a child process, for tests of what several conductors share."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgeai.testing.broker import free_port


def find_postgres() -> Path | None:
    """The folder of its programs, of the newest version that is here."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return programs[-1].parent if programs else None


class Postgres:
    """A server on a loopback port whose only user needs no password."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._at = Path(tempfile.mkdtemp(prefix="edgeai-postgresql-"))
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to be root
            user = pwd.getpwnam("postgres")
            os.chown(self._at, user.pw_uid, user.pw_gid)
            self._who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._data, self._port = self._at / "data", free_port()

    @property
    def url(self) -> str:
        """Of the database that is there."""
        return self._url("postgres")

    def database(self, name: str) -> str:
        """The URL of one more."""
        self._do("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "edgeai", name)
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://edgeai@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        """Once it has a folder of data."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._at} -c fsync=off"
        self._do("pg_ctl", "-D", self._data, "-w", "-t", "300", "-l", self._at / "log", "-o", options, "start")

    def kill(self) -> None:
        """Each of its sessions ends without a word."""
        self._do("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def __enter__(self) -> Postgres:
        self._do("initdb", "-D", self._data, "-U", "edgeai", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._at, ignore_errors=True)

    def _do(self, program: str, *words: str | Path) -> None:
        with (self._at / f"{program}.out").open("wb") as out:  # the server keeps it open: no pipe
            done = subprocess.run(
                [self._programs / program, *words], stdout=out, stderr=out, cwd=self._at, check=False, **self._who
            )
        assert done.returncode == 0, (self._at / f"{program}.out").read_text()
