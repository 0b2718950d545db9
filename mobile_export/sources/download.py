"""A public checkpoint, downloaded once: resumed where it broke off, and checked before it is used.

What arrives is only bytes: `sources.checkpoint` reads it, which never unpickles code.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from ..errors import SourceError, summary
from ..system.files import GIB, MIB, regular_file
from ..system.locks import lock
from ..system.terminal import say

if TYPE_CHECKING:
    from ..models.checkpoints import PublicCheckpoint

__all__ = ["cache_folder", "downloaded"]

_TRIES = 3
_TIMEOUT = 20.0
_LARGEST = 4 * GIB
_BLOCK = MIB // 4
_BROKEN = (OSError, http.client.HTTPException, ValueError)
"""What a connection may raise."""


def cache_folder() -> Path:
    """Where checkpoints are kept: the platform's cache folder of this user."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mobile-export" / "checkpoints"


def downloaded(checkpoint: PublicCheckpoint) -> Path:
    """The file of a checkpoint, from the cache or from where upstream has it.

    Raises:
        SourceError: it cannot be had, or is another file than the one that is pinned. What has
            arrived of a broken download is kept, and the next one goes on there.
    """
    mark = hashlib.sha256(checkpoint.url.encode()).hexdigest()[:12]
    place = cache_folder() / mark / checkpoint.file
    if place.is_file() and _problem(place, checkpoint) is None:
        return place
    part = place.with_name(f"{place.name}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab+") as stream:
            if lock(stream, wait=False) is False:
                raise SourceError(
                    f"Another process downloads {checkpoint.url}.", hint="Wait for it."
                )
            _fetch(checkpoint, stream, part.with_suffix(".etag"))
            stream.flush()
            problem = _problem(part, checkpoint)
            if problem is not None:
                stream.truncate(0)
                raise _unusable(checkpoint, problem)
            part.replace(place)
    except OSError as error:
        raise SourceError(
            f"{checkpoint.url} cannot be kept in {place.parent}: {error.strerror or error}.",
            hint="Free some space, or set XDG_CACHE_HOME.",
        ) from error
    part.with_suffix(".etag").unlink(missing_ok=True)
    return place


def _fetch(checkpoint: PublicCheckpoint, stream: IO[bytes], etag: Path) -> None:
    """Append what is missing to the file, in several tries."""
    for attempt in range(_TRIES):
        before = stream.seek(0, os.SEEK_END)
        try:
            _fetch_once(checkpoint, stream, etag)
            return
        except HTTPError as error:
            if error.code == 416 and before:  # what is there is not the beginning of it
                stream.truncate(0)
                continue
            raise _unreachable(checkpoint, f"HTTP {error.code} {error.reason}") from error
        except SourceError:
            raise
        except _BROKEN as error:
            if attempt == _TRIES - 1 or stream.seek(0, os.SEEK_END) == before == 0:
                raise _unreachable(checkpoint, _reason(error)) from error
    raise _unreachable(checkpoint, "its server refuses to go on")


def _fetch_once(checkpoint: PublicCheckpoint, stream: IO[bytes], etag: Path) -> None:
    """One request for the rest of the file.

    Raises:
        OSError, HTTPException: the connection broke.
        SourceError: the server sends something else than it promised.
    """
    have = stream.seek(0, os.SEEK_END)
    known = etag.read_text("ascii").strip()[:200] if etag.is_file() else ""
    pinned = checkpoint.sha256 or checkpoint.git_blob
    headers = {"User-Agent": "mobile-export", "Accept-Encoding": "identity"}
    if have and (known or pinned):
        headers["Range"] = f"bytes={have}-"
        if known:
            headers["If-Range"] = known
    request = urllib.request.Request(checkpoint.url, headers=headers)
    with contextlib.closing(_opener(checkpoint.url).open(request, timeout=_TIMEOUT)) as answer:
        begin, total = _promised(answer, have)
        if begin != have:
            stream.truncate(0)
            have = 0
        limit = checkpoint.bytes or _LARGEST
        if total is not None and (total > limit or checkpoint.bytes not in (None, total)):
            raise _unusable(checkpoint, f"the server promises {total:,} bytes, not {limit:,}")
        tag = str(answer.headers.get("ETag") or "")
        if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', tag):  # a strong one
            etag.write_text(tag, "ascii")
        else:
            etag.unlink(missing_ok=True)
        for block in iter(lambda: answer.read(_BLOCK), b""):
            have += len(block)
            if have > (limit if total is None else total):
                stream.truncate(0)
                raise _unusable(checkpoint, f"more than the {total or limit:,} bytes that it has")
            stream.write(block)
            whole = "" if total is None else f" of {total / 1e6:.1f}"
            say(f"downloading {checkpoint.file}: {have / 1e6:.1f}{whole} MB")
        if total is not None and have < total:
            raise ConnectionError(f"the connection broke off after {have:,} of {total:,} bytes")


def _promised(answer: Any, have: int) -> tuple[int, int | None]:
    """At which byte an answer begins, and the size of the whole file."""
    if answer.status == 206:
        found = re.fullmatch(
            r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})",
            str(answer.headers.get("Content-Range")),
        )
        if found is None or int(found[1]) != have:
            raise ConnectionError("the server does not go on where it was asked to")
        return have, int(found[2])
    length = str(answer.headers.get("Content-Length") or "")
    return 0, int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to https, and to http only from http: never to a file or to ftp."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, new: str
    ) -> Any:
        there = urlsplit(new).scheme.lower()
        if there != "https" and not (there == "http" and req.type == "http"):
            raise ConnectionError(f"its server redirects to {new[:200]}")
        return super().redirect_request(req, fp, code, msg, headers, new)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What speaks http and https, and nothing else."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConnectionError(f"{url} is no web address")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _problem(path: Path, checkpoint: PublicCheckpoint) -> str | None:
    """Why a file is not the checkpoint; None where nothing says that it is not."""
    size = regular_file(path, error=SourceError)
    if checkpoint.bytes not in (None, size):
        return f"it has {size:,} bytes, not {checkpoint.bytes:,}"
    if not size:
        return "it is empty"
    sums = (
        ("SHA-256", hashlib.sha256(), checkpoint.sha256),
        ("git blob", hashlib.sha1(b"blob %d\0" % size), checkpoint.git_blob),
    )
    wanted = [each for each in sums if each[2] is not None]
    with path.open("rb") as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            return "it is a page to read (of an error, or of a login?)"
        stream.seek(0)
        for block in _blocks(stream) if wanted else ():
            for _, digest, _ in wanted:
                digest.update(block)
    for name, digest, sum_ in wanted:
        if digest.hexdigest() != sum_:
            return f"its {name} is {digest.hexdigest()}, not {sum_}"
    return None


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    read: Callable[[], bytes] = lambda: stream.read(_BLOCK)  # noqa: E731
    return iter(read, b"")


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    return summary(inner if isinstance(inner, BaseException) else error)


def _unreachable(checkpoint: PublicCheckpoint, reason: str) -> SourceError:
    return SourceError(
        f"{checkpoint.file} could not be had from {checkpoint.url}: {reason}.",
        hint="No network? Download it elsewhere, and give it with `weights='FILE'`. What has "
        "arrived is kept: the next try goes on there.",
    )


def _unusable(checkpoint: PublicCheckpoint, reason: str) -> SourceError:
    return SourceError(
        f"What {checkpoint.url} sent is not {checkpoint.file}: {reason}. It was not kept.",
        hint=f"It is documented in {checkpoint.source}; if it moved, give the file with "
        "`weights='FILE'`.",
    )
