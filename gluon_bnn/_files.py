"""Writes files so that none is ever lost: under a temporary name first, then renamed. Opens hostile ones safely."""
import glob
import json
import os
import stat


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


def open_regular(path):
    """The regular file `path`, a str, bytes or os.PathLike, open to be read as bytes.

    Raises OSError where there is none, or where it is a FIFO, a device or a directory: these could be read for ever.
    """
    # Without O_NONBLOCK opening a FIFO waits for a writer.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{os.fsdecode(path)} must be a regular file")
    return file


def parse_json(text):
    """What a JSON text (str or bytes in UTF-8) stands for; ValueError for whatever is wrong with it.

    That includes a name that is there twice, numbers of more than 19 digits, which would take for ever to read, and
    objects in objects that are deeper than Python can follow.
    """
    def once(pairs):
        names = dict(pairs)
        if len(names) < len(pairs):
            raise ValueError("a name is there twice")
        return names

    def integer(digits):
        if len(digits) > 19:
            raise ValueError(f"a number has {len(digits)} digits")
        return int(digits)
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"), object_pairs_hook=once,
                          parse_int=integer)
    except RecursionError:
        raise ValueError("it has too many objects in objects") from None
