"""Programs in Python that tests run, in processes of their own or, where that makes no difference, in this one."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import unittest.mock

import numpy as np

from paths import script_of


def run(*arguments, cwd=None, text=True, **environment):
    """The ended process of `python ARGUMENTS`, with what it printed. A variable that is None is taken away from it."""
    environ = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=text)


def script(name, *arguments, **options):
    """`run` of a script that people start, as theirs."""
    return run(script_of(name), *arguments, **options)


def _status(left, stderr):
    """The exit status of a SystemExit, whose text is printed."""
    if isinstance(left.code, str):
        print(left.code, file=stderr)
    return left.code if isinstance(left.code, int) else int(left.code is not None)


def script_here(name, *arguments, cwd):
    """As `script`, in this process: MXNet, which takes seconds to import, is there already."""
    stdout, stderr, status, before = io.StringIO(), io.StringIO(), 0, os.getcwd()
    hooks = unittest.mock.patch.multiple(
        sys, argv=[name, *map(str, arguments)], excepthook=sys.excepthook, unraisablehook=sys.unraisablehook
    )
    os.chdir(cwd)
    try:
        with hooks, contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            runpy.run_path(script_of(name), run_name="__main__")
    except SystemExit as left:
        status = _status(left, stderr)
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(name, status, stdout.getvalue(), stderr.getvalue())


def output(*arguments, **options):
    """What it prints; AssertionError with all that it said where it fails."""
    done = run(*arguments, **options)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


class Fork:
    """A script in a child that is forked from this process, where MXNet has been imported, as a `subprocess.Popen`.

    It is the first process of a session, as in a terminal of its own, and gets Ctrl-C as there. It draws random numbers
    as a new process does: neither those of this one, nor those of another child. What it prints is lost, but for its
    stderr.
    """

    def __init__(self, name, *arguments, cwd):
        from gluon_bnn import mx  # not above: tests of what runs without MXNet import this module, too

        self.returncode, self._stderr, self._mx = None, tempfile.TemporaryFile("w+"), mx
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                status = self._run(name, *arguments, cwd=cwd)
            finally:
                os._exit(status)

    def _run(self, name, *arguments, cwd):
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        os.dup2(self._stderr.fileno(), 2)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)
        sys.argv = [name, *map(str, arguments)]
        os.chdir(cwd)
        seed = int.from_bytes(os.urandom(4), "little")
        np.random.seed(seed)
        self._mx.random.seed(seed)
        try:
            try:
                runpy.run_path(script_of(name), run_name="__main__")
                return 0
            except SystemExit:
                raise
            except BaseException:
                sys.excepthook(*sys.exc_info())  # which may leave with a status of its own
                return 1
        except SystemExit as left:
            return _status(left, sys.stderr)

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def communicate(self, timeout=60):
        """(None, what it wrote to stderr), once it has ended."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(sys.argv, timeout)
            time.sleep(0.01)
        self._stderr.seek(0)
        return None, self._stderr.read()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)
