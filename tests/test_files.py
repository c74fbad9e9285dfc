"""Files that are replaced as a whole, what of the old one is kept, what is refused; and locks."""

import contextlib
import os
import pathlib
import signal
import stat
import threading
import warnings

import pytest

from gluon_bnn import _files

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others and makes devices")
NOBODY = 65534


def in_child(function):
    """Run the function in a forked process; its exit status, 0 where it returned."""
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            function()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize("old", [0o600, 0o640, 0o666, 0o755, 0o4711])
def test_the_mode_is_kept(tmp_path, umask, old):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(old)
    _files.replace(path, b"new")
    assert path.read_bytes() == b"new" and mode(path) == old


def test_a_new_file_has_the_mode_of_the_umask(tmp_path, umask):
    _files.replace(tmp_path / "file", b"new")
    assert mode(tmp_path / "file") == 0o640


def test_nobody_else_reads_a_private_file_while_it_is_written(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    keep = _files._keep_attributes

    def look(old, path, temporary):
        seen.append(mode(temporary))
        keep(old, path, temporary)

    monkeypatch.setattr(_files, "_keep_attributes", look)
    _files.replace(path, b"new")
    assert seen == [0o600]


def test_extended_attributes_are_kept(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.kept", b"yes")
    except (AttributeError, OSError):
        pytest.skip("this file system has no extended attributes")
    before = os.stat(path).st_mtime_ns
    os.utime(path, ns=(0, 0))
    _files.replace(path, b"new")
    assert os.getxattr(path, "user.kept") == b"yes"
    assert os.stat(path).st_mtime_ns >= before  # but not the old file's times


@root_only
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o4750)
    _files.replace(path, b"new")
    assert (os.stat(path).st_uid, os.stat(path).st_gid, mode(path)) == (1234, 4321, 0o4750)


@root_only
def test_another_group_gets_no_rights(tmp_path):
    tmp_path.chmod(0o777)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    os.chown(path, 1234, 4321)
    here = os.open(tmp_path, os.O_RDONLY)

    def child():
        os.fchdir(here)  # the directories above are private
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.path.realpath = lambda path: path  # it would ask for the current directory's name
        _files.replace("file", b"new")

    assert in_child(child) == 0
    assert path.read_bytes() == b"new" and mode(path) == 0o606


def test_a_write_protected_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.getuid() == 0:  # for whom no file is write-protected
        monkeypatch.setattr(os, "access", lambda path, kind: not kind & os.W_OK)
    with pytest.raises(PermissionError, match="write-protected.*file"):
        _files.replace(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_links_stay_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    (tmp_path / "second").symlink_to(target)
    (tmp_path / "first").symlink_to("second")
    for content in (b"into a dangling link", b"and into one that is not"):
        _files.replace(tmp_path / "first", content)
        assert target.read_bytes() == content and not target.is_symlink()
        assert (tmp_path / "first").is_symlink() and (tmp_path / "second").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        _files.replace(tmp_path / "loop", b"new")


def make_fifo(path):
    os.mkfifo(path)


def make_directory(path):
    path.mkdir()


def make_device(path):
    if os.getuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("make", [make_fifo, make_directory, make_device])
def test_only_regular_files_are_replaced(tmp_path, make, linked):
    path = tmp_path / "odd"
    make(path)
    before = os.lstat(path)
    given = path
    if linked:
        given = tmp_path / "link"
        given.symlink_to(path)
    with pytest.raises(OSError, match="regular file"):
        _files.replace(given, b"new")
    assert os.lstat(path).st_ino == before.st_ino and os.lstat(path).st_mode == before.st_mode
    assert len(os.listdir(tmp_path)) == 1 + linked


@pytest.mark.parametrize("path", ["", "new/", "."])
def test_paths_that_name_no_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="regular file"):
        _files.replace(path, b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path])
def test_kinds_of_paths(tmp_path, kind, monkeypatch):
    _files.replace(kind(str(tmp_path / "absolute")), b"new")
    monkeypatch.chdir(tmp_path)
    _files.replace(kind("relative"), b"new")
    _files.make_directory(kind("one/two/file"))
    assert sorted(os.listdir(tmp_path)) == ["absolute", "one", "relative"] and os.listdir("one") == ["two"]


@pytest.mark.parametrize(
    "name", [b"a" * 255, b"a" * 250, "ä".encode() * 127, b"\xff\xfe", b"a" * 100, b"new\nline"], ids=range(6)
)
def test_long_and_odd_names(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    for content in (b"old", b"new"):
        _files.replace(path, content)
        with open(path, "rb") as file:
            assert file.read() == content
    with _files.lock(path):
        assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        _files.replace(tmp_path / "missing" / "file", b"new")
    assert raised.value.filename == str(tmp_path / "missing" / "file")
    assert str(raised.value) == f"[Errno 2] No such file or directory: '{tmp_path}/missing/file'"
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(NotADirectoryError, match="file"):
        _files.make_directory(tmp_path / "file" / "new")


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        _files.replace(path, b"new")
    with pytest.raises(TypeError):
        _files.replace(path, "text")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def parts(directory):
    return [name for name in os.listdir(directory) if ".part-" in name]


@pytest.mark.parametrize("name", ["file", "a" * 255])
def test_what_a_killed_process_left_is_removed(tmp_path, name):
    path = tmp_path / name

    def killed():
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        _files.replace(path, b"half")

    assert in_child(killed) == -signal.SIGKILL
    assert len(parts(tmp_path)) == 1 and not path.exists()
    _files.replace(path, b"new")
    assert path.read_bytes() == b"new" and not parts(tmp_path)


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "file"
    (written, tell), (wait, go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status, fsync = 1, os.fsync

        def pause(descriptor):
            os.write(tell, b"!")
            os.read(wait, 1)
            os.fsync = fsync

        os.fsync = pause
        with contextlib.suppress(BaseException):
            _files.replace(path, b"of the child")
            status = 0
        os._exit(status)
    os.read(written, 1)
    _files.replace(path, b"of the parent")
    assert len(parts(tmp_path)) == 1
    os.write(go, b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert path.read_bytes() == b"of the child" and not parts(tmp_path)


def test_without_locks_what_is_left_is_removed_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "fcntl", None)
    young, old = tmp_path / "file.part-00000000", tmp_path / "file.part-11111111"
    for part in (young, old):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    _files.replace(tmp_path / "file", b"new")
    assert parts(tmp_path) == [young.name]


def test_a_lock_is_held_once(tmp_path):
    path = tmp_path / "file"
    found = []

    def attempt():
        try:
            with _files.lock(path):
                found.append("got it")
        except BlockingIOError as error:
            found.append(str(error))

    with _files.lock(path):
        attempt()
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        with _files.lock(tmp_path / "another"):
            pass
    attempt()
    for message in found[:2]:
        assert f"in use by process {os.getpid()}" in message and str(path) in message
    assert found[2] == "got it" and os.listdir(tmp_path) == []


def test_a_lock_is_given_back_by_a_killed_process(tmp_path):
    path = tmp_path / "file"
    written, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with _files.lock(path):
            os.write(tell, b"!")
            signal.pause()
    os.read(written, 1)
    with pytest.raises(BlockingIOError, match=f"process {pid} on "):
        with _files.lock(path):
            pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.listdir(tmp_path) == ["file.lock"]
    with _files.lock(path):
        assert (tmp_path / "file.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert os.listdir(tmp_path) == []


def test_a_forked_child_neither_holds_nor_ends_its_parents_lock(tmp_path):
    path = tmp_path / "file"
    stop, go = os.pipe()
    held = _files.lock(path)
    held.__enter__()
    assert in_child(lambda: held.__exit__(None, None, None)) == 0
    with pytest.raises(BlockingIOError):
        with _files.lock(path):
            pass
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(stop, 1)  # until the parent closes its end
        os._exit(0)
    held.__exit__(None, None, None)
    with _files.lock(path):
        pass
    os.close(go)
    os.waitpid(pid, 0)


def test_locks_where_there_can_be_none(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        with _files.lock(tmp_path / "missing" / "file"):
            pass
    monkeypatch.setattr(_files, "fcntl", None)
    with pytest.warns(UserWarning, match="file cannot be locked"):
        with _files.lock(tmp_path / "file"):
            pass
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(os, "access", lambda path, kind: not kind & os.W_OK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with _files.lock(tmp_path / "file"):
            assert os.listdir(tmp_path) == []


def test_a_new_file_that_is_taken_for_a_leftover_is_given_up(tmp_path, monkeypatch):
    """Who removes what killed processes left may find it before it is locked, and then holds the lock of its own."""
    others, try_lock = [], _files._try_lock

    def late(file):
        if not others:
            others.append(open(file.name, "r+b"))
            assert try_lock(others[0])
        return try_lock(file)

    monkeypatch.setattr(_files, "_try_lock", late)
    with _files.new_file(str(tmp_path / "x")) as file:
        assert file.name != others[0].name
    others[0].close()
