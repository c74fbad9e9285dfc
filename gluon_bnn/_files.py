"""Writes files so that none is ever lost: under a temporary name first, then renamed."""
import glob
import os


def replace(path, content):
    """Put `content` (bytes) into the file `path`, in place of an old one there only once it is all on the disk.

    A link stays a link. Raises OSError, and leaves the old file whole and no other behind. A process that is
    killed leaves the old file whole and a part of the new beside it; after a power cut it is one of the two.
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


def remove_unfinished(path):
    """Remove what a process that was killed inside of `replace` left beside `path`.

    Only for a file that no other process writes: it would lose what it is writing (and get an OSError).
    """
    for name in glob.glob(glob.escape(os.path.realpath(path)) + ".part-" + "[0-9a-f]" * 8):
        os.unlink(name)
