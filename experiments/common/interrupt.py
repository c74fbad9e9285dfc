"""Ctrl-C in a script: one line on stderr, exit status 130, and no process left behind. Needs nothing but Python.

A script imports this first and calls `says` before its other imports, which take seconds: Ctrl-C may come there too.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

STATUS = 128 + signal.SIGINT  # what a shell reports of a process that ended by this signal


def says(what):
    """From now on Ctrl-C ends this process with one line, which ends in `what`: the state of its work."""
    sys.excepthook = _Hook(what)
    sys.unraisablehook = _raise_again


class _Hook:
    """Python's excepthook; an exception that was raised while a KeyboardInterrupt cleaned up is its consequence."""

    def __init__(self, what):
        self.what = what

    def __call__(self, kind, error, traceback):
        cause = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        if cause is None:
            sys.__excepthook__(kind, error, traceback)
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end has begun: a second Ctrl-C changes nothing
        after_echo = "\n" if sys.stderr.isatty() else ""  # a terminal has shown ^C
        print(f"{after_echo}{os.path.basename(sys.argv[0])}: interrupted; {self.what}", file=sys.stderr)
        sys.exit(STATUS)


def _raise_again(unraisable):
    """Python's unraisablehook. Python forgets a KeyboardInterrupt that comes while an object is freed."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _repeat()
    else:
        sys.__unraisablehook__(unraisable)


def _repeat():
    """Send this process another Ctrl-C in a moment, when the caller has returned."""
    threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()


@contextlib.contextmanager
def kept_from_others():
    """Processes started inside of this context have SIGINT blocked: a terminal sends Ctrl-C to all of them, but this
    process alone reacts, and ends the others. A Ctrl-C that comes inside of the context takes effect at its end, when
    the new processes are known."""
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # what a new process inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if came:
            _repeat()


def start(command, **options):
    """subprocess.Popen of a process that does not get Ctrl-C; the caller has to end it."""
    with kept_from_others():
        return subprocess.Popen(command, **options)


def run(command, **options):
    """subprocess.run of a process that does not get Ctrl-C: it is killed when this one is interrupted."""
    process = start(command, **options)
    try:
        stdout, stderr = process.communicate()
    finally:
        process.kill()  # does nothing where it has ended
        process.wait()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
