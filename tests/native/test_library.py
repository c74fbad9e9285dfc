"""A native library that is there but wrong: `problem()` says so, auto does without, native refuses.

Absent and cut-off ones, through to MXNet, are in test_tools.py; here nothing imports MXNet.
"""

import os
import shutil
import subprocess
import sys

import pytest

from gluon_bnn.native import library

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(library.__file__)))

USE = """
import warnings
from gluon_bnn import ops
from gluon_bnn.native import library
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    assert [ops.current() for _ in range(2)] == [ops.composed] * 2
assert [w.category for w in seen] == [RuntimeWarning], "warned once"
assert library.problem() in str(seen[0].message)
assert not library.available() and library.instruction_set() is None
try:
    with ops.use("native"):
        ops.current()
except OSError as error:
    assert str(error) == library.problem() and library.ADVICE in str(error)
    print(error)
"""


def zeroed(content):
    """The header only, as a file system may leave it after a crash."""
    return content[:64] + bytes(len(content) - 64)


def other_machine(content):
    return content[:18] + b"\xff\x00" + content[20:]


def half(content):
    return content[: len(content) // 2]


def without_the_functions(content):
    return content.replace(b"gluon_bnn_abi", b"gluon_bnn_xyz")


def older_interface(content):
    return content  # the package is made to ask for the next one


@pytest.mark.parametrize(
    "damage, word",
    [
        (zeroed, "cannot be loaded"),
        (other_machine, "cannot be loaded"),
        (half, "is cut off"),
        (without_the_functions, "gluon_bnn_abi"),
        (older_interface, f"has interface {library.ABI}, this package needs {library.ABI + 1}"),
    ],
)
def test_a_wrong_library(tmp_path, damage, word):
    if not library.available():
        pytest.skip(library.problem())
    with open(library.path(), "rb") as file:
        content = file.read()
    if content[:4] != b"\x7fELF":
        pytest.skip("knows how to damage ELF files only")
    copy = shutil.copytree(
        PACKAGE, tmp_path / "gluon_bnn", ignore=shutil.ignore_patterns("*.so", "__pycache__", "_data")
    )
    (copy / "native" / os.path.basename(library.path())).write_bytes(damage(content))
    if damage is older_interface:
        source = copy / "native" / "library.py"
        changed = source.read_text().replace(f"\nABI = {library.ABI} ", f"\nABI = {library.ABI + 1} ")
        source.write_text(changed)
    environment = {name: value for name, value in os.environ.items() if name != "GLUON_BNN_OPS"}
    done = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout


def test_reached_from_the_package_alone():
    """As the README has it, in a process that imported nothing else."""
    code = "import gluon_bnn; print(gluon_bnn.native.library.available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(library.available()), done.stderr
