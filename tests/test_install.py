"""Wheel and sdist, built from a copy of the checkout: tag and content, with and without a compiler."""
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
NO_COMPILER = {"named but absent": {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"},
               "none on the path": {"PATH": "/nonexistent"}}


@pytest.fixture
def copy(tmp_path):
    if not os.path.isfile(os.path.join(ROOT, "setup.py")):
        pytest.skip("no checkout to build from")
    pytest.importorskip("setuptools", minversion="70.1", reason="building without isolation needs it")
    ignore = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "*.so", "runs",
                                    "__pycache__", "results", "mnist")
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=ignore)


def run(*arguments, cwd, **environment):
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(copy, **environment):
    """(file name of the wheel, {name in it: content}), built where MXNet and what it needs cannot be imported."""
    absent = copy / "absent"
    absent.mkdir()
    for package in ("mxnet", "numpy", "scipy"):
        (absent / f"{package}.py").write_text(f"raise ImportError('a build needs no {package}')")
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", ".",
        cwd=copy, PYTHONPATH=str(absent), **environment)
    wheel, = os.listdir(copy / "wheels")
    with zipfile.ZipFile(copy / "wheels" / wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for file in FILES:
        assert content[f"gluon_bnn/_data/digits/{file}"] == (copy / "data/digits" / file).read_bytes()
    assert "gluon_bnn/reference/binary.py" in content
    assert any(name.endswith("LICENSE") for name in content)
    assert {name.split("/")[0].split("-")[0] for name in content} == {"gluon_bnn"}  # no tests
    return wheel, content


def test_wheel(copy):
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        pytest.skip("there is no C++ compiler here")
    wheel, content = build_wheel(copy)
    assert "-py3-none-" in wheel and not wheel.endswith("-any.whl")
    assert any(name.startswith("gluon_bnn/native/libgluon_bnn.") for name in content)


@pytest.mark.parametrize("why", NO_COMPILER)
def test_wheel_without_a_compiler(copy, why):
    """It is a pure one, and nothing that earlier builds have left gets into it."""
    platform = sysconfig.get_platform()
    for root in (".", f"build/lib.{platform}-{sys.implementation.cache_tag}",
                 f"build/bdist.{platform}/wheel"):
        native = copy / root / "gluon_bnn" / "native"
        native.mkdir(parents=True, exist_ok=True)
        (native / "libgluon_bnn.so").write_bytes(b"stale")
        if root != ".":
            (native / "stale.py").write_bytes(b"")
    wheel, content = build_wheel(copy, **NO_COMPILER[why])
    assert wheel.endswith("-py3-none-any.whl")
    assert not [name for name in content if "libgluon_bnn" in name or "stale" in name]


def test_sdist(copy):
    """It holds all that a build and the tests need, and of the results no frozen nets."""
    results = os.path.join("experiments", "results")
    shutil.copytree(os.path.join(ROOT, results), copy / results, ignore=shutil.ignore_patterns("*.safetensors"))
    net = os.path.join(results, "papers", "bnn-0.safetensors")
    (copy / net).write_bytes(b"as large as all the rest")
    run("setup.py", "--quiet", "sdist", cwd=copy)
    name, = os.listdir(copy / "dist")
    with tarfile.open(copy / "dist" / name) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    needed = {"setup.py", "pyproject.toml", "README.md", "LICENSE", "tests/conftest.py",
              "experiments/train_mnist.py", *(f"data/digits/{file}" for file in FILES),
              *(f"gluon_bnn/native/src/{file}" for file in os.listdir(copy / "gluon_bnn/native/src"))}
    assert needed <= names, needed - names
    kept = ("notebook_bnn.json", os.path.join("papers", "bnn-0.json"), os.path.join("papers", "curves.png"))
    assert {os.path.join(results, name) for name in kept} <= names
    assert net not in names and not [name for name in names if name.endswith((".so", ".pyc"))]
