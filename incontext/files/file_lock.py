"""Locks on files. The system releases them when a process ends, even if it is killed.

They work between processes and, on NFS and SMB as Linux, macOS and Windows mount them, between machines.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import IO

if os.name == "nt":
    import msvcrt
else:
    import fcntl

_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def acquire(file: IO[bytes], *, shared: bool = False) -> bool | None:
    """Try to lock an open file, without waiting.

    Args:
        shared: others may hold it too, if they also share it. Windows has no such locks; there, only one holds it.

    Returns:
        Whether the lock is held now; None if the file system does not support locks.
    """
    try:
        if os.name == "nt":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _UNSUPPORTED else False
    return True


def release(file: IO[bytes]) -> None:
    """Release a lock that `acquire` took."""
    with suppress(OSError):
        if os.name == "nt":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, fcntl.LOCK_UN)
