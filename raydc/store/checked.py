"""Files of a data set as its manifest states them: size first, then bytes, then digest."""

from __future__ import annotations

import hashlib

from raydc.errors import DataError
from raydc.store.folder import Folder
from raydc.store.schema import File


def read_checked(folder: Folder, file: File, digest: bool = True) -> bytes:
    """The bytes of a file of the manifest; one of another size is refused unread.

    Args:
        folder: root of the data set.
        file: as the manifest states it.
        digest: hash it too.

    Raises:
        DataError: it is not what the manifest states.
    """
    found = folder.size(file.path)
    if found != file.bytes:
        raise DataError(f"{file.path} has {found} bytes, the manifest states {file.bytes}. Restore it")
    data = folder.read(file.path)
    if len(data) != file.bytes or (digest and hashlib.sha256(data).hexdigest() != file.sha256):
        raise DataError(f"{file.path} was changed: its SHA-256 is not that of the manifest. Restore the original")
    return data
