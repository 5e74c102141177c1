"""Reading a repository as a client does: from its folder, as a server would serve it, or from a server itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Urllib3Fetcher

FOLDER_URL = "folder:///"
_CHUNK = 1 << 20


class FolderFetcher(FetcherInterface):
    """Serves a folder as a static web server does, without one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = (self._folder / unquote(urlsplit(url).path).lstrip("/")).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise DownloadHTTPError("not found", 404)
        return _pieces(path)


def fetcher_of(public: Path, url: str | None) -> tuple[FetcherInterface, str]:
    """Who fetches, and the address that all paths stand below."""
    if url is None:
        return FolderFetcher(public), FOLDER_URL
    return Urllib3Fetcher(app_user_agent="edgeai-fleet"), url.rstrip("/") + "/"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
