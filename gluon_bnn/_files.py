"""Files that are never lost: written under a temporary name first, then renamed; and locked while a run writes them.
Hostile ones are opened safely."""

import contextlib
import errno
import glob
import json
import os
import platform
import shutil
import stat
import time
import warnings
from collections.abc import Iterator
from typing import IO, Any, Union

try:
    import fcntl
except ImportError:  # this system has no locks: `lock` warns, and what a killed process left is kept for a day
    fcntl = None  # type: ignore[assignment]

_DAY = 86400  # seconds
_ROOM = 100  # bytes that the name of a file may have on every file system
AnyPath = Union[str, bytes, os.PathLike]
_held: set[IO] = set()  # the open files by which this process holds its locks


def replace(path: AnyPath, content: bytes) -> None:
    """Put `content` into the file `path`, in place of an old one there only once it is all on the disk.

    The old file's mode, owner and extended attributes are kept as far as this process may set them; where its group
    cannot be kept, the group's rights are dropped. A new file gets the mode that the umask leaves. A link stays a
    link. Another hard link to the old file keeps the old content.

    Raises OSError, and leaves the old file whole and no other behind; also where the old one is not a regular file
    (but a directory, FIFO or device) or is write-protected. A process that is killed leaves the old file whole and a
    part of the new one, which the next call for this path removes. After a power cut the file is the old or the new.
    """
    path = os.fsdecode(path)
    old = _replaceable(path)
    path = os.path.realpath(path)
    remove_unfinished(path)
    try:
        with new_file(path, private=old is not None) as file:
            file.write(content)
            file.flush()
            if old:
                _keep_attributes(old, path, file.name)
            os.fsync(file.fileno())
            os.replace(file.name, path)
    except OSError as error:
        error.filename = path  # the caller knows nothing of a temporary name
        del error.filename2
        raise
    _sync_directory(os.path.dirname(path))


def make_directory(path: AnyPath) -> None:
    """Make the directory of the file `path` where it is missing; NotADirectoryError where a file is in the way."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(os.fsdecode(path))), exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "is not a directory", error.filename) from None


@contextlib.contextmanager
def lock(path: AnyPath) -> Iterator[None]:
    """Hold the file `path` while the block runs: no other block, in this process or another, can hold it then.

    The file itself is not touched. A file with ".lock" at the end of its name says who holds it, and is removed at
    the end. The system releases the lock of a process that ends in any other way.

    Raises BlockingIOError, which names the process, where another block holds it, and OSError where the directory is
    missing. Does nothing in a directory that cannot be written: no run can write there. Warns where the system or
    the file system has no locks.
    """
    path = os.path.realpath(os.fsdecode(path))
    directory = os.path.dirname(path)
    if os.path.isdir(directory) and not os.access(directory, os.W_OK):
        yield
        return
    name = _beside(path, ".lock")
    with _locked(name, path) as file:
        file.truncate()
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
        file.flush()
        _held.add(file)
        try:
            yield
        finally:
            if file in _held:  # not in a child of fork
                _held.remove(file)
                with contextlib.suppress(OSError):
                    os.unlink(name)


def _locked(name, path):
    """The file `name`, open and locked, as the lock of `path`."""
    while True:
        file = open(os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b")
        locked = _try_lock(file)
        if locked is None:
            warnings.warn(
                f"{path} cannot be locked on this system: nothing keeps a second run from writing it", stacklevel=4
            )
            return file
        if not locked:
            with file:
                owner = file.read(200).decode(errors="replace") or "another process"
            raise BlockingIOError(errno.EAGAIN, f"is in use by {owner}", path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(name)):
                return file
        file.close()  # its last owner removed it just before it was locked here


def _try_lock(file):
    """Lock an open file until it is closed: True, False where another open file holds it, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _close_in_child():
    """A child of fork shares its parent's locks and would hold them after the parent's end."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _replaceable(path):
    """os.stat of the file at `path`, None where there is none; OSError where it must not be replaced."""
    if not os.path.basename(path):
        raise OSError(errno.EISDIR, "must be the path of a regular file", path)
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode):
        raise OSError(
            errno.EISDIR if stat.S_ISDIR(old.st_mode) else errno.EINVAL,
            "only a regular file can be replaced, not a directory, FIFO, socket or device",
            path,
        )
    if not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, "is write-protected", path)
    return old


def _beside(path, end):
    """The name `path` + `end`, cut before `end` to at most the length of the name itself or _ROOM."""
    directory, name = os.path.split(path)
    most = max(_ROOM, len(os.fsencode(name)))
    while len(os.fsencode(name + end)) > most:
        name = name[:-1]
    return os.path.join(directory, name + end)


@contextlib.contextmanager
def new_file(path: str, private: bool = False) -> Iterator[IO[bytes]]:
    """A new file next to `path`, open for writing; removed after the block unless that has renamed it.

    While it is open it is locked, so that `remove_unfinished` of another process leaves it alone.

    private : nobody else can read it
    """
    mode = 0o600 if private else 0o666
    while True:
        file = open(
            _beside(path, f".part-{os.urandom(4).hex()}"), "xb", opener=lambda name, flags: os.open(name, flags, mode)
        )
        if _try_lock(file) is not False and os.path.exists(file.name):
            break
        file.close()  # somebody took it for a leftover before it was locked, and has removed it or is about to
    with file:
        try:
            yield file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name)


def remove_unfinished(path: str) -> None:
    """Remove the files of `new_file` that killed processes left next to `path`."""
    for name in glob.glob(glob.escape(_beside(path, ".part-00000000")[:-8]) + "[0-9a-f]" * 8):
        with contextlib.suppress(OSError), open(name, "r+b") as file:
            left = _try_lock(file)
            if left is None:
                left = os.fstat(file.fileno()).st_mtime < time.time() - _DAY
            if left:
                os.unlink(name)


def _keep_attributes(old, path, temporary):
    """Give the file `temporary` the owner, mode and extended attributes of `path`; `old` is its os.stat."""
    mode = stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown"):
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except OSError:
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
            try:
                os.chown(temporary, -1, old.st_gid)
            except OSError:
                mode &= ~stat.S_IRWXG
    with contextlib.suppress(OSError):
        shutil.copystat(path, temporary)
        os.utime(temporary)
    os.chmod(temporary, mode)


def _sync_directory(path):
    """Put a rename in this directory on the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_regular(path: AnyPath) -> IO[bytes]:
    """The regular file `path`, open to be read as bytes.

    Raises OSError where there is none, or where it is a FIFO, a device or a directory: these could be read for ever.
    """
    # Without O_NONBLOCK opening a FIFO waits for a writer.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{os.fsdecode(path)} must be a regular file")
    return file


def parse_json(text: Union[str, bytes]) -> Any:
    """What a JSON text, a str or UTF-8, stands for; ValueError for whatever is wrong with it.

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
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8"), object_pairs_hook=once, parse_int=integer
        )
    except RecursionError:
        raise ValueError("it has too many objects in objects") from None
