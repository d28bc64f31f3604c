"""What the clouds announce to their spot machines: the metadata servers of AWS (IMDSv2) and of Google's cloud."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

METADATA = "http://169.254.169.254"
"""Where both clouds answer, on their machines alone."""
ANSWER_SECONDS = 2.0
"""How long a metadata server may take; it is on the same host."""
TRIES = 3
"""Questions without an answer until a machine counts as not in a cloud."""
POLL_SECONDS = 2.0
"""Between two questions: a small part of the shortest notice (30 s)."""
AWS_SECONDS, GCE_SECONDS = 120.0, 30.0
"""How far ahead the clouds give notice, by their documentation."""
SILENT = (OSError, HTTPException)
"""What a metadata server that does not answer raises; urllib's errors are OSErrors."""


@dataclass(frozen=True)
class Notice:
    """What the cloud has announced."""

    text: str
    deadline: float | None
    """When the machine is taken, as Unix time; None: not said."""


@dataclass(frozen=True)
class Answer:
    """What a metadata server has said; a refusal (404 where there is no notice) is an answer too."""

    status: int
    body: str
    flavor: str


def ask(url: str, headers: dict[str, str], method: str = "GET") -> Answer:
    """Ask a metadata server, never through a proxy.

    Raises:
        OSError, HTTPException: it does not answer.
    """
    request = Request(url, headers=headers, method=method)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_SECONDS) as reply:
            return Answer(reply.status, reply.read().decode(errors="replace"), reply.headers.get("Metadata-Flavor", ""))
    except HTTPError as error:
        with error:
            return Answer(error.code, "", error.headers.get("Metadata-Flavor", ""))


class Aws:
    """Amazon's cloud, by the second version of its metadata service: every question carries a token."""

    name = "AWS"

    def __init__(self, rebalance: bool) -> None:
        # The variable that Amazon's own clients read.
        self.url = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
        self.rebalance = rebalance
        self.token = ""

    def here(self) -> bool:
        """Whether this machine is one of the cloud's."""
        reply = ask(f"{self.url}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, "PUT")
        self.token = reply.body if reply.status == 200 else ""
        return bool(self.token)

    def notice(self) -> Notice | None:
        """What is announced: that the machine is taken, or, if asked for, that this has become likely."""
        action = self._ask("spot/instance-action")
        if action is not None:
            return Notice(f"spot instance: {action.get('action', 'interruption')}", _until(action.get("time")))
        if self.rebalance and self._ask("events/recommendations/rebalance") is not None:
            return Notice("spot instance: rebalance recommendation", None)
        return None

    def _ask(self, path: str) -> dict[str, str] | None:
        reply = ask(f"{self.url}/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self.token})
        if reply.status == 401:  # the token has expired
            self.here()
        if reply.status != 200:
            return None
        with suppress(ValueError):  # a notice that cannot be read is a notice
            said = json.loads(reply.body)
            if isinstance(said, dict):
                return said
        return {}


class Gce:
    """Google's cloud."""

    name = "GCE"

    def __init__(self) -> None:
        host = os.environ.get("GCE_METADATA_HOST")  # the variable that Google's own clients read
        self.url = f"http://{host}" if host else METADATA

    def here(self) -> bool:
        """Whether this machine is one of the cloud's."""
        return self._ask().flavor == "Google"

    def notice(self) -> Notice | None:
        """That the machine is taken, if it is announced."""
        reply = self._ask()
        preempted = reply.status == 200 and reply.body.strip().upper() == "TRUE"
        return Notice("spot VM: preempted", time.time() + GCE_SECONDS) if preempted else None

    def _ask(self) -> Answer:
        return ask(f"{self.url}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})


def _until(stamp: str | None) -> float:
    """The time that AWS names, or what its documentation promises."""
    try:
        return datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return time.time() + AWS_SECONDS


def detect(rebalance: bool = False) -> Aws | Gce | None:
    """The cloud that this machine belongs to; None if no metadata server answers."""
    clouds: list[Aws | Gce] = [Aws(rebalance), Gce()]
    for n in range(TRIES):
        for cloud in clouds:
            with suppress(*SILENT):
                if cloud.here():
                    return cloud
        if n + 1 < TRIES:
            time.sleep(POLL_SECONDS)
    return None
