"""The wheel: its tag and content with and without a C++ compiler, built from a copy of the checkout."""
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def compiler():
    return shutil.which(os.environ.get("CXX", "c++").split()[0])


@pytest.mark.parametrize("with_compiler", [True, False])
def test_wheel(tmp_path, with_compiler):
    if not os.path.isfile(os.path.join(ROOT, "setup.py")):
        pytest.skip("no checkout to build from")
    if with_compiler and not compiler():
        pytest.skip("there is no C++ compiler here")
    pytest.importorskip("wheel", reason="building without isolation needs the package wheel")
    ignore = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "*.so", "runs", "__pycache__",
                                    "results", "mnist")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=ignore)
    env = dict(os.environ)
    if not with_compiler:
        env.update(CC="/nonexistent/cc", CXX="/nonexistent/c++")
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
                           "--wheel-dir", str(tmp_path / "wheels"), str(tmp_path / "copy")],
                          capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel, = os.listdir(tmp_path / "wheels")
    names = zipfile.ZipFile(tmp_path / "wheels" / wheel).namelist()
    assert "-py3-none-" in wheel and wheel.endswith("-any.whl") != with_compiler
    assert any(name.startswith("gluon_bnn/native/libgluon_bnn.") for name in names) == with_compiler
    for needed in ("gluon_bnn/_data/digits/train-images-idx3-ubyte.gz", "gluon_bnn/reference/binary.py"):
        assert needed in names
    assert not any(name.startswith(("tests/", "experiments/")) for name in names)
    assert any(name.endswith("LICENSE") for name in names)
