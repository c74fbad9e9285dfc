"""Programs in Python that tests run, in processes of their own or, where that makes no difference, in this one."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
import unittest.mock

from paths import script_of


def run(*arguments, cwd=None, text=True, **environment):
    """The ended process of `python ARGUMENTS`, with what it printed. A variable that is None is taken away from it."""
    environ = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=text)


def script(name, *arguments, **options):
    """`run` of a script that people start, as theirs."""
    return run(script_of(name), *arguments, **options)


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
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            print(left.code, file=stderr)
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(name, status, stdout.getvalue(), stderr.getvalue())


def output(*arguments, **options):
    """What it prints; AssertionError with all that it said where it fails."""
    done = run(*arguments, **options)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout
