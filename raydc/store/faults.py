"""Storage failures as DataErrors: what was being done, where, why it failed and what to do, without credentials.

A failure is transient where the same request may succeed later (the store was busy, away, or cut the connection) and
permanent where it will not (no such file, no right, no credentials, no space). What counts is what the libraries
really raise: s3fs turns the answers of S3 into OSErrors, whose cause holds the answer itself.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raydc.errors import DataError, RaydcError, StorageError

_SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID",
    "AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "HF_TOKEN",
)  # fmt: skip
_NO_CREDENTIALS = ("NoCredentials", "PartialCredentials", "DefaultCredentialsError", "CredentialRetrievalError")
_PASSWORD = re.compile(r"\w+://[^/\s@:'\"]*:[^/\s@'\"]+@")
_SIGNED = re.compile(r"://[^\s'\"]*[?&][^\s='\"]*(sig|token|key|secret|password|credential)[^\s='\"]*=", re.IGNORECASE)

_STATUSES = (408, 429, 500, 502, 503, 504)
"""Of HTTP: too slow, too many, or the server's own failure."""
_CODES = (
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "ThrottlingException",
    "RequestLimitExceeded", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "NoSuchUpload",
)  # fmt: skip
"""Of S3: also an upload that arrived cut or changed, and one whose end was carried out but never answered."""
_NUMBERS = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "EBUSY", "EAGAIN", "EPIPE", "ECONNRESET", "ECONNREFUSED",
        "ECONNABORTED", "EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN", "ENETRESET", "ENOTCONN",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Of a network file system or a socket."""
_KINDS = re.compile("Connection|Timeout|Disconnected|IncompleteRead|PayloadError|ProtocolError|ResponseParserError")
"""In the names of what HTTP libraries raise when an answer does not come, or does not come to its end."""
_UNREACHED = re.compile("Connection|Timeout|Disconnected")
_PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError, ImportError)


def clean(text: str) -> str:
    """Remove what could be a credential: user and password of a URL, its query, and known secret variables."""
    text = re.sub(r"(\w+://)[^/\s@'\"]+@", r"\1***@", text)
    text = re.sub(r"(\w+://[^\s?'\"]+)\?[^\s'\"]+", r"\1?***", text)
    for value in _values():
        text = text.replace(value, "***")
    return text


def secret(text: str) -> bool:
    """Whether a text spells a credential: a URL with a password or a signature, or a known secret variable."""
    return bool(_PASSWORD.search(text) or _SIGNED.search(text)) or any(value in text for value in _values())


def transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    chain = list(_causes(error))
    for cause in chain:
        answer = getattr(cause, "response", None)
        if isinstance(answer, dict):  # of S3, as botocore keeps it
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status in _STATUSES or answer.get("Error", {}).get("Code") in _CODES
    for cause in chain:
        if _KINDS.search(_kinds(cause)) or getattr(cause, "errno", None) in _NUMBERS:
            return True
        if isinstance(cause, _PERMANENT):
            return False
        if any(getattr(cause, name, None) in _STATUSES for name in ("status", "status_code", "code")):
            return True  # of Google's, Azure's and plain HTTP stores
    return False


@contextmanager
def told(action: str, url: str, size: int | None = None) -> Iterator[None]:
    """Turn any failure of the body into a DataError, a transient one into a StorageError.

    Args:
        action: what was tried, such as ``"read"``.
        url: of the file or folder.
        size: bytes that were to be written, where the action is a write.
    """
    try:
        yield
    except RaydcError:
        raise
    except Exception as error:  # fsspec backends raise anything: botocore, aiohttp, paramiko, OSError, ValueError
        kind = StorageError if transient(error) else DataError
        message = f"cannot {action} {clean(url)}: {_advice(error, clean(_words(error)), size)}"
        # A cause that spells a secret must not be shown by a traceback either.
        shown = all(clean(_words(cause)) == _words(cause) for cause in _causes(error))
        raise kind(message) from (error if shown else None)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _values() -> list[str]:
    values = [os.environ.get(name, "") for name in _SECRETS]
    return [value for value in values if len(value) >= 4]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def _kinds(error: Any) -> str:
    return " ".join(c.__name__ for c in type(error).__mro__)


def _advice(error: Exception, cause: str, size: int | None) -> str:
    names, code = _kinds(error), getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        wanted = "" if size is None else f", {size:,} bytes were to be written"
        return f"no space left{wanted} ({cause}). Free some space and run the same command again: finished work is kept"
    if transient(error):
        if _UNREACHED.search(names):
            return f"it could not be reached ({cause}). Check the network, the endpoint and the bucket's name"
        return f"the storage is busy or failing ({cause}). Try again later"
    if isinstance(error, FileNotFoundError):
        return f"it does not exist ({cause}). Check the spelling and that an earlier stage has written it"
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return f"a file was expected where a folder is, or the reverse ({cause})"
    if any(name in names for name in _NO_CREDENTIALS):
        return f"no credentials were found ({cause}). Set them in the environment, as the storage provider documents"
    if isinstance(error, PermissionError):
        return f"access was refused ({cause}). Check the credentials and the rights of this user"
    if isinstance(error, ImportError):
        return (
            f"its kind of storage needs a package ({cause}): pip install 'raydc[s3]' for s3://, 'raydc[gcs]' for gs://"
        )
    return f"{cause}. Check the URL and the storage behind it"
