"""Records of experiments: what was run, on what, with what result, as JSON; and their pictures."""

import contextlib
import datetime
import io
import json
import os
import platform
import subprocess
import sys
import tempfile

from gluon_bnn import _files

HERE = os.path.dirname(os.path.abspath(__file__))


def _cpuinfo():
    """{key: value} of the first processor, as Linux describes it; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            first = file.read().split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def processor():
    """The processor's name and how many of it this process sees."""
    return f"{_cpuinfo().get('model name') or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def generation():
    """{"family", "model", "MHz"} of the processor as far as they are known: several generations have one name."""
    found = _cpuinfo()
    names = {"family": "cpu family", "model": "model", "MHz": "cpu MHz"}
    return {name: round(float(found[key])) for name, key in names.items() if key in found}


def commit():
    """The commit of the checkout, with "+" where files differ from it; None outside of one."""

    def git(*arguments):
        return subprocess.run(("git",) + arguments, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


# At the start: the checkout may have moved on when a run of hours is done.
COMMIT = commit()


def versions():
    """Versions of Python and of the packages that results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("gluon-bnn", "mxnet", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def replace(path, content):
    """Put bytes into a file, whole or not at all, in a directory that is made where it is missing."""
    _files.make_directory(path)
    _files.replace(path, content)


def writable(directory, *names, what="--save-dir"):
    """Make a directory and see that files of these names can be written there: before the work, not after it.

    Exits with one line that begins with `what`, the option that named the directory, where they cannot, and then
    removes what it has made.
    """
    path, missing, made = os.path.abspath(directory), [], []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    try:
        os.path.abspath(directory).encode()
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process may make it too
                os.mkdir(path)
                made.append(path)
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            file.write(b"x")
            file.flush()
        problem = next(
            (f"{name} is a directory there" for name in names if os.path.isdir(os.path.join(directory, name))), None
        )
    except OSError as error:
        problem = error.strerror
    except UnicodeEncodeError:
        problem = "MXNet takes names in UTF-8 only"
    if problem:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # others may have put something there
                os.rmdir(path)
        sys.exit(f"{os.path.basename(sys.argv[0])}: {what} {directory} cannot be written: {problem}")


def write_record(path, argv=None, **content):
    """Write a JSON record: content, with argv, commit, versions, the processor and the date."""
    argv = sys.argv if argv is None else argv
    # Where the script and its results lie on this machine is no part of the result.
    argv = [os.path.basename(a) if os.path.isabs(a) else a for a in argv]
    record = {
        "argv": argv,
        **content,
        "commit": COMMIT,
        "versions": versions(),
        "processor": processor(),
        "generation": generation(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
    }
    replace(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


def save_figure(figure, path, **options):
    """Save a matplotlib figure to a PNG, with options of its `savefig`, and close it."""
    import matplotlib.pyplot

    content = io.BytesIO()
    figure.savefig(content, **{"dpi": 110, "bbox_inches": "tight", **options})
    replace(path, content.getvalue())
    matplotlib.pyplot.close(figure)
