"""A proxy before the test's S3 server that fails as networks and stores do, and counts how often it did.

It reads a whole request, decides its fate and passes it on over a connection of its own; the server holds the state.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from tests import s3

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>")
_PREFIX = re.compile(rb"<CommonPrefixes>\s*<Prefix>(.*?)</Prefix>\s*</CommonPrefixes>", re.DOTALL)


@dataclass
class Request:
    """One request, whole."""

    method: str
    target: str
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def key(self) -> str:
        """The bucket and key that it names."""
        return unquote(urlsplit(self.target).path).strip("/")

    @property
    def query(self) -> dict[str, list[str]]:
        """Its query."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


class Proxy:
    """Passes requests on to ``upstream`` (host, port) and spoils some of them.

    Attributes:
        busy: every n-th request is answered with ``status``; 0 = none. So for the others.
        status: with which.
        cut_uploads: of every n-th request with a body the connection is closed after half of it.
        cut_downloads: of every n-th answer with a body the connection is closed after half of it.
        lose_answers: every n-th request with a body is carried out, and its answer never sent.
        stale_s: listings show what was there so many seconds ago.
        hanging: requests are read and never answered.
        only: spoil only requests of a method and a key in which this is found.
        direct: a client that asks the server itself, past all faults.
        injected: how often each fault happened.
        requests: how often each method was asked for.
    """

    def __init__(self, upstream: tuple[str, int], direct: Any) -> None:
        self.upstream, self.direct = upstream, direct
        self.busy = self.cut_uploads = self.cut_downloads = self.lose_answers = 0
        self.status = 503
        self.stale_s = 0.0
        self.hanging = False
        self.only = re.compile("")
        self.injected: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._born: dict[str, float] = {}
        self._gone: dict[str, tuple[float, bytes]] = {}
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._ended = threading.Event()
        self.port = 0
        self.up()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Take connections, at the port of before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and cut those that are open."""
        self.injected["outage"] += 1
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def outage(self, seconds: float) -> threading.Thread:
        """Be down for so long; returns at once."""
        self.down()
        timer = threading.Timer(seconds, self.up)
        timer.daemon = True
        timer.start()
        return timer

    def holds(self, part: str) -> bool:
        """Whether a file with this in its key was written."""
        with self._lock:
            return any(part in key for key in self._born)

    def end(self) -> None:
        """Stop for good."""
        self._ended.set()
        self.down()

    def calm(self) -> None:
        """No faults any more."""
        self.status = 503
        self.busy = self.cut_uploads = self.cut_downloads = self.lose_answers = 0
        self.stale_s, self.hanging, self.only = 0.0, False, re.compile("")
        with self._lock:
            self._turns.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until one side has enough."""
        with self._lock:
            self._open.add(connection)
        upstream = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            # A broken or refused connection is what this is about.
            with suppress(OSError, http.client.HTTPException), connection.makefile("rb") as file:
                while self._one(connection, file, upstream):
                    pass
        finally:
            upstream.close()
            with self._lock:
                self._open.discard(connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _one(self, connection: socket.socket, file: BinaryIO, upstream: http.client.HTTPConnection) -> bool:
        """One request; whether the connection goes on."""
        line = file.readline()
        if not line:
            return False
        method, target, _ = line.decode("latin-1").split()
        headers = http.client.parse_headers(file)
        request = Request(method, target, headers, b"")
        self.requests[method] += 1
        if headers.get("Expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if int(headers.get("Content-Length", 0)) > 0 and self._turn(request, "cut upload", self.cut_uploads):
            file.read(int(headers["Content-Length"]) // 2)
            return False
        request.body = _body(file, headers)
        if self.hanging:
            self.injected["hang"] += 1
            while self.hanging and not self._ended.wait(0.05):
                pass
            return False
        if self._turn(request, "busy", self.busy):
            connection.sendall(_answer(self.status, {"Content-Type": "application/xml"}, BUSY, method))
            return True
        status, fields, body = self._pass_on(request, upstream)
        if request.body and self._turn(request, "lost answer", self.lose_answers):
            return False
        answer = _answer(status, fields, body, method)
        if body and self._turn(request, "cut download", self.cut_downloads):
            connection.sendall(answer[: len(answer) - len(body) + len(body) // 2])
            return False
        connection.sendall(answer)
        return True

    def _turn(self, request: Request, fault: str, every: int) -> bool:
        """Whether it is this request's turn to meet a fault."""
        if not every or not self.only.search(f"{request.method} {request.key}"):
            return False
        with self._lock:
            self._turns[fault] += 1
            due = self._turns[fault] % every == 0
            self.injected[fault] += due
        return due

    def _pass_on(self, request: Request, upstream: http.client.HTTPConnection) -> tuple[int, dict[str, str], bytes]:
        gone = b""
        if request.method == "DELETE":
            gone = b"<Contents><Key>%s</Key><Size>0</Size></Contents>" % request.key.partition("/")[2].encode()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
        headers["Content-Length"] = str(len(request.body))
        upstream.request(request.method, request.target, request.body, headers)
        response = upstream.getresponse()
        body = response.read()
        fields = dict(response.getheaders())
        with self._lock:
            if response.status < 300 and (request.method == "PUT" or "uploadId" in request.query):
                self._born.setdefault(request.key, time.monotonic())
            if gone:
                self._born.pop(request.key, None)
                self._gone[request.key] = time.monotonic(), gone
            if response.status < 300 and self.stale_s and "list-type" in request.query:
                old = self._as_it_was(request, body)
                self.injected["stale listing"] += old != body
                body = old
        return response.status, fields, body

    def _as_it_was(self, request: Request, listing: bytes) -> bytes:
        """A listing without what is younger than ``stale_s``, and with what was removed since then."""
        bucket, prefix = request.key, request.query.get("prefix", [""])[0]
        since = time.monotonic() - self.stale_s
        young = {k.partition("/")[2] for k, born in self._born.items() if born > since and k.startswith(f"{bucket}/")}
        kept = [k.partition("/")[2] for k, born in self._born.items() if born <= since and k.startswith(f"{bucket}/")]

        def entry(found: re.Match[bytes]) -> bytes:
            key = _KEY.search(found.group())
            return b"" if key and unquote(key.group(1).decode()) in young else found.group()

        def folder(found: re.Match[bytes]) -> bytes:
            name = unquote(found.group(1).decode())
            hidden = any(k.startswith(name) for k in young) and not any(k.startswith(name) for k in kept)
            return b"" if hidden else found.group()

        listing = _PREFIX.sub(folder, _ENTRY.sub(entry, listing))
        for key, (when, text) in self._gone.items():
            name = key.partition("/")[2]
            if when > since and key.startswith(f"{bucket}/{prefix}") and "/" not in name[len(prefix) :]:
                listing = listing.replace(b"</ListBucketResult>", text + b"</ListBucketResult>")
        count = len(_ENTRY.findall(listing)) + len(_PREFIX.findall(listing))
        return re.sub(rb"<KeyCount>\d+</KeyCount>", b"<KeyCount>%d</KeyCount>" % count, listing)


def _body(file: BinaryIO, headers: http.client.HTTPMessage) -> bytes:
    if headers.get("Transfer-Encoding", "").lower() != "chunked":
        return _exactly(file, int(headers.get("Content-Length", 0)))
    parts = []
    while size := int(file.readline().split(b";")[0], 16):
        parts.append(_exactly(file, size))
        file.readline()
    while file.readline().strip():
        pass
    return b"".join(parts)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ConnectionError("the caller hung up")
    return data


def _answer(status: int, fields: dict[str, str], body: bytes, method: str) -> bytes:
    lines = [f"{k}: {v}" for k, v in fields.items() if k.lower() not in ("connection", "transfer-encoding")]
    if method == "HEAD":  # tells the length of what it does not send
        body = b""
    else:
        lines = [line for line in lines if not line.lower().startswith("content-length:")]
        lines.append(f"Content-Length: {len(body)}")
    head = f"HTTP/1.1 {status} {http.client.responses.get(status, '')}\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("latin-1") + body


@contextmanager
def bucket(name: str) -> Iterator[tuple[str, Proxy]]:
    """A bucket on a server of its own, reached through a proxy: its URL, and the proxy, which spoils nothing yet."""
    with s3.server() as (address, direct):
        proxy = Proxy(address, direct)
        try:
            direct.create_bucket(Bucket=name)
            with s3.at(proxy.url):
                yield f"s3://{name}", proxy
        finally:
            proxy.end()
