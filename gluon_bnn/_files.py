"""Writes files so that none is ever lost: under a temporary name first, then renamed."""
import os


def replace(path, content):
    """Put `content` (bytes) into the file `path`, in place of an old one there only once it is all on the disk.

    A link stays a link. Raises OSError, and leaves the old file whole and no other behind.
    """
    path = os.path.realpath(path)
    temporary = f"{path}.part-{os.urandom(4).hex()}"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
