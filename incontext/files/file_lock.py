"""Locks on files, which the system releases when a process is gone, however it went.

They hold between processes and, on NFS and SMB as Linux, macOS and Windows mount them, between machines.
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
        shared: let others hold it too, if they also share. Windows has no such locks: there, one holds it.

    Returns:
        Whether the lock is held now; None where the file system has no locks.
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
    with suppress(OSError):
        if os.name == "nt":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, fcntl.LOCK_UN)
