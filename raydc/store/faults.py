"""Storage failures as DataErrors: what was being done, where, why it failed and what to do, without credentials."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from raydc.errors import DataError, RaydcError

_SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID",
    "AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "HF_TOKEN",
)  # fmt: skip
_NO_CREDENTIALS = ("NoCredentials", "PartialCredentials", "DefaultCredentialsError", "CredentialRetrievalError")


def clean(text: str) -> str:
    """Remove what could be a credential: user and password of a URL, its query, and known secret variables."""
    text = re.sub(r"(\w+://)[^/\s@'\"]+@", r"\1***@", text)
    text = re.sub(r"(\w+://[^\s?'\"]+)\?[^\s'\"]+", r"\1?***", text)
    for name in _SECRETS:
        value = os.environ.get(name)
        if value and len(value) >= 4:
            text = text.replace(value, "***")
    return text


@contextmanager
def told(action: str, url: str, size: int | None = None) -> Iterator[None]:
    """Turn any failure of the body into a DataError.

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
        raw = f"{type(error).__name__}: {error}"
        safe = clean(raw)
        message = f"cannot {action} {clean(url)}: {_advice(error, safe, size)}"
        # A cause that spells a secret must not be shown by a traceback either.
        raise DataError(message) from (error if raw == safe else None)


def _advice(error: Exception, cause: str, size: int | None) -> str:
    names = " ".join(c.__name__ for c in type(error).__mro__)
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        wanted = "" if size is None else f", {size:,} bytes were to be written"
        return f"no space left{wanted} ({cause}). Free some space and run the same command again: finished work is kept"
    if isinstance(error, FileNotFoundError):
        return f"it does not exist ({cause}). Check the spelling and that an earlier stage has written it"
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return f"a file was expected where a folder is, or the reverse ({cause})"
    if any(name in names for name in _NO_CREDENTIALS):
        return f"no credentials were found ({cause}). Set them in the environment, as the storage provider documents"
    if isinstance(error, PermissionError):
        return f"access was refused ({cause}). Check the credentials and the rights of this user"
    if isinstance(error, ImportError):
        return f"its kind of storage needs a package ({cause}): pip install 'raydc[s3]' for s3://, 'raydc[gcs]' for gs://"
    if isinstance(error, (TimeoutError, ConnectionError)) or "Connection" in names or "Timeout" in names:
        return f"it could not be reached ({cause}). Check the network, the endpoint and the bucket's name"
    return f"{cause}. Check the URL and the storage behind it"
