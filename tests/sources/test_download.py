"""Downloads from a server of this machine: whole, broken, wrong, redirected, too large, offline."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.errors import SourceError, UsageError
from mobile_export.models.checkpoints import PublicCheckpoint, public_checkpoints
from mobile_export.models.table import get, names
from mobile_export.sources import download
from mobile_export.sources.download import downloaded
from mobile_export.sources.table import ModelRequest, load_source

BODY = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``body`` as ``how`` says, and notes the ranges that it was asked for."""

    body, how, etag = BODY, "whole", '"one"'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/net.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        how = server.how.pop(0) if isinstance(server.how, list) else server.how
        if how.startswith("to "):
            self.send_response(302)
            self.send_header("Location", how[3:])
            self.end_headers()
            return
        if how.isdigit():
            self.send_error(int(how))
            return
        start = 0
        if wanted and self.headers.get("If-Range") in (None, server.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(server.body)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if how != "endless":
            self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if how == "broken" else rest)
        if how == "endless":
            self.wfile.write(b"more")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("no_proxy", "*")
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()


def checkpoint(server: Server, **changes: Any) -> PublicCheckpoint:
    plain = PublicCheckpoint(
        ("emo_1m",), "net.pth", server.url, True, SHA256, None, len(BODY), "a test"
    )
    return replace(plain, **changes)


def test_once(server: Server) -> None:
    wanted = checkpoint(server)
    place = downloaded(wanted)
    assert place.read_bytes() == BODY
    assert downloaded(wanted) == place
    assert server.asked == [None]
    place.write_bytes(BODY[:-1] + b"x")  # the cache was changed: it is downloaded again
    assert downloaded(wanted).read_bytes() == BODY
    assert [path.name for path in place.parent.iterdir()] == ["net.pth"]


def test_gits_own_sum(server: Server) -> None:
    """``printf a | git hash-object --stdin`` is 2e65efe2a145dda7ee51d1741299f848e5bf752e."""
    server.body = b"a"
    wanted = checkpoint(server, sha256=None, bytes=None)
    git = "2e65efe2a145dda7ee51d1741299f848e5bf752e"
    assert downloaded(replace(wanted, git_blob=git)).read_bytes() == b"a"
    with pytest.raises(SourceError, match=f"its git blob is {git}"):
        downloaded(replace(wanted, url=server.url + "?2", git_blob="0" * 40))


def test_a_broken_connection_is_gone_on_with(server: Server) -> None:
    server.how = ["broken", "broken", "whole"]  # type: ignore[assignment]
    half = len(BODY) // 2
    assert downloaded(checkpoint(server)).read_bytes() == BODY
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


@pytest.mark.parametrize("pinned", [True, False])
def test_the_next_run_goes_on(server: Server, pinned: bool) -> None:
    wanted = checkpoint(server, **({} if pinned else {"sha256": None, "bytes": None}))
    server.how = "broken"
    with pytest.raises(SourceError, match=r"broke off after .* of 1,048,576 bytes") as error:
        downloaded(wanted)
    assert error.value.exit_code == 2
    assert "weights" in str(error.value.hint)
    server.how = "whole"
    assert downloaded(wanted).read_bytes() == BODY
    assert server.asked[-1] == f"bytes={len(BODY) * 7 // 8}-"


def test_a_file_that_changed_meanwhile_begins_anew(server: Server) -> None:
    wanted = checkpoint(server, sha256=None, bytes=None)
    server.how = "broken"
    with pytest.raises(SourceError):
        downloaded(wanted)
    server.how, server.etag, server.body = "whole", '"two"', BODY[::-1]
    assert downloaded(wanted).read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    ("changes", "how", "said"),
    [
        ({"sha256": "0" * 64}, "whole", "its SHA-256 is"),
        ({"bytes": 7}, "whole", "promises 1,048,576 bytes, not 7"),
        ({"bytes": len(BODY) + 1}, "whole", "promises 1,048,576 bytes, not 1,048,577"),
        ({}, "endless", "more than the 1,048,576 bytes"),
        ({}, "404", "HTTP 404"),
        ({}, "429", "HTTP 429 Too Many Requests"),
        ({}, "to file:///etc/passwd", "file:///etc/passwd"),
        ({}, "to ftp://127.0.0.1/x", "redirects to ftp:"),
    ],
)
def test_what_is_not_the_file_is_not_kept(
    server: Server, tmp_path: Path, changes: dict[str, Any], how: str, said: str
) -> None:
    server.how = how
    with pytest.raises(SourceError, match=re.escape(said)):
        downloaded(checkpoint(server, **changes))
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".pth", ".part")]
    assert not any(path.stat().st_size for path in kept)


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html>\n<p>", b"\n <html><p>", b'<?xml version="1.0"?>']
)
def test_a_page_is_no_checkpoint(server: Server, page: bytes) -> None:
    """Where no sum is known, a page that says 200 is not taken for the file, nor kept."""
    server.body = page + b"Sign in to download" * 10
    wanted = checkpoint(server, sha256=None, bytes=None)
    with pytest.raises(SourceError, match="it is a page to read"):
        downloaded(wanted)
    server.body = BODY
    assert downloaded(wanted).read_bytes() == BODY


def test_a_redirect_never_leaves_https() -> None:
    request = download.urllib.request.Request("https://there.example/x")
    for there in ("http://other.example/x", "file:///x", "data:,x"):
        with pytest.raises(ConnectionError, match="redirects to"):
            download._Redirects().redirect_request(request, None, 302, "", {}, there)


def test_offline_is_one_sentence(server: Server) -> None:
    closed = server.url.replace(str(server.server_address[1]), "1")
    with pytest.raises(SourceError, match="could not be had from http") as error:
        downloaded(checkpoint(server, url=closed))
    assert "No network?" in str(error.value.hint)


def test_a_model_with_the_weights_that_were_downloaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = get("espcn_x2").build(in_chans=1)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    server.body = (tmp_path / "w.pth").read_bytes()
    wanted = checkpoint(server, models=("espcn_x2",), sha256=None, bytes=None)
    monkeypatch.setattr(
        "mobile_export.models.checkpoints.public_checkpoint",
        lambda name: wanted if name == "espcn_x2" else None,
    )
    source = load_source(ModelRequest("espcn_x2", pretrained=True))
    assert source.weights.kind == "pretrained"
    assert source.weights.sha256 == hashlib.sha256(server.body).hexdigest()
    for name, value in module.state_dict().items():
        assert torch.equal(source.module.state_dict()[name], value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("u2netp", "in a browser from https://drive"), ("seaformer_tiny", "Look for a file at https")],
)
def test_what_no_program_can_download(name: str, said: str) -> None:
    with pytest.raises(UsageError, match="can download") as error:
        load_source(ModelRequest(name, pretrained=True))
    assert said in str(error.value.hint)


def test_every_place_is_https_with_a_source_and_models_that_are_here() -> None:
    for each in public_checkpoints():
        assert each.url.startswith("https://")
        assert set(each.models) <= set(names())
        assert re.match(r"github\.com/\S+ \S+( at [0-9a-f]{7})?: .", each.source)
        assert each.source.split()[0].lower() in str(get(each.models[0]).published.code).lower()
        assert not each.direct or re.fullmatch(r"[\w.]+\.(pth|pt)", each.file)
