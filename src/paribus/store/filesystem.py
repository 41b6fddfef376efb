"""What kind of file system a path lies on, and how a file is written there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path, PurePosixPath

# Types on which the memory that SQLite's WAL shares between processes does not cross machines.
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre", "gpfs", "beegfs"}
    | {"panfs", "pvfs2", "orangefs", "glusterfs", "gfs2", "ocfs2", "davfs", "fuse.sshfs", "fuse.glusterfs"}
    | {"fuse.ceph", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.juicefs", "fuse.davfs2"}
)


def is_network_filesystem(mounts_text: str, path: Path | PurePosixPath | str) -> bool:
    r"""Tell whether an absolute path lies on a network mount, from the text of `/proc/mounts`.

    >>> is_network_filesystem("/dev/vda / ext4 rw 0 0\nhost:/home /home nfs4 rw 0 0", "/home/me/runs")
    True
    """
    place = PurePosixPath(path)
    mounts = (line.split(" ") for line in mounts_text.splitlines())
    found = [
        # The deepest mount wins; of two on one point, the later.
        (len(point.parts), index, kind)
        for index, (_, escaped, kind, *_) in enumerate(fields for fields in mounts if len(fields) >= 3)
        if place.is_relative_to(point := PurePosixPath(_unescape(escaped)))
    ]
    return bool(found) and max(found)[2] in NETWORK_TYPES


def mounts_text() -> str:
    """Read this system's mounts; empty where there is no `/proc`."""
    try:
        return Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return ""


def write_whole(path: Path, payload: bytes | memoryview) -> None:
    """Write a read-only file under a temporary name, sync it, and give it its name.

    Readers, and whoever comes after a crash, see the whole file or none.

    Raises:
        OSError: As the system says; the temporary is gone.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # 0o444: nobody changes it by accident; the umask still applies.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        with open(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
