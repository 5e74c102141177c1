"""A static web server in a process of its own, which counts."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any


class _Answers(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def send_head(self) -> Any:
        type(self).asked += 1
        return super().send_head()

    def log_message(self, format: str, *words: object) -> None:
        pass


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


class WebServer:
    """Serves a folder, until it is ended."""

    def __init__(self, folder: Path) -> None:
        self._pipe, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, folder), daemon=True)
        self._process.start()
        self.url = f"http://127.0.0.1:{self._pipe.recv()}"

    def end(self) -> tuple[int, float]:
        """So many requests were answered, and what that took of a processor in seconds."""
        self._pipe.send(None)
        answered: tuple[int, float] = self._pipe.recv()
        self._process.join()
        return answered

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, folder: Path) -> None:
    server = _Listener(("127.0.0.1", 0), partial(_Answers, directory=str(folder)))
    before = time.process_time()
    Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_port)
    pipe.recv()
    pipe.send((_Answers.asked, time.process_time() - before))
