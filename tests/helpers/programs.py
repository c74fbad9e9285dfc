"""Programs in Python that tests run in processes of their own."""

import os
import subprocess
import sys

from paths import script_of


def run(*arguments, cwd=None, text=True, **environment):
    """The ended process of `python ARGUMENTS`, with what it printed. A variable that is None is taken away from it."""
    environ = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=text)


def script(name, *arguments, **options):
    """`run` of a script that people start, as theirs."""
    return run(script_of(name), *arguments, **options)


def output(*arguments, **options):
    """What it prints; AssertionError with all that it said where it fails."""
    done = run(*arguments, **options)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout
