"""A metadata server as a spot machine sees it, of either cloud, until told otherwise without a notice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Metadata:
    """What the server says and what it was asked."""

    def __init__(self, cloud: str) -> None:
        self.cloud = cloud
        self.address = ""
        self.notice: dict[str, str] | None = None
        self.rebalance: dict[str, str] | None = None
        self.token = 0
        """Tokens given; only the last one is good."""
        self.failing = 0
        """Questions that it will not answer properly."""
        self.asked: list[tuple[str, int]] = []

    @property
    def variables(self) -> dict[str, str]:
        """What makes the watcher ask here; the proxy must never be asked."""
        endpoint = f"http://{self.address}" if self.cloud == "aws" else "http://127.0.0.1:9"
        host = self.address if self.cloud == "gce" else "127.0.0.1:9"
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
            "GCE_METADATA_HOST": host,
            "http_proxy": "http://127.0.0.1:9",
        }

    def expire(self) -> None:
        self.token += 1

    def answer(self, method: str, path: str, headers: Any) -> tuple[int, str]:
        if self.failing:
            self.failing -= 1
            return 503, ""
        return (self._aws if self.cloud == "aws" else self._gce)(method, path, headers)

    def _aws(self, method: str, path: str, headers: Any) -> tuple[int, str]:
        if (method, path) == ("PUT", "/latest/api/token"):
            assert int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
            self.token += 1
            return 200, f"token-{self.token}"
        if headers.get("X-aws-ec2-metadata-token") != f"token-{self.token}":
            return 401, ""
        said = {"spot/instance-action": self.notice, "events/recommendations/rebalance": self.rebalance}
        found = said.get(path.removeprefix("/latest/meta-data/"))
        return (200, json.dumps(found)) if found else (404, "<html>Not Found</html>")

    def _gce(self, method: str, path: str, headers: Any) -> tuple[int, str]:
        if headers.get("Metadata-Flavor") != "Google":
            return 403, ""
        known = (method, path) == ("GET", "/computeMetadata/v1/instance/preempted")
        return (200, "TRUE" if self.notice else "FALSE") if known else (404, "")


@contextmanager
def metadata_server(cloud: str) -> Iterator[Metadata]:
    """Serve on this machine for a while."""
    metadata = Metadata(cloud)

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            status, body = metadata.answer(self.command, self.path, self.headers)
            metadata.asked.append((f"{self.command} {self.path}", status))
            self.send_response(status)
            if cloud == "gce":
                self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = _reply

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    metadata.address = f"127.0.0.1:{server.server_port}"
    try:
        yield metadata
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
