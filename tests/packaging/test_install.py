"""Wheels and sdist, built from a copy of the checkout: tag, metadata, content; with and without a compiler; for ARM."""

import email
import glob
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest

import gluon_bnn
from gluon_bnn.native import library

from paths import GOLDEN, ROOT

pytestmark = pytest.mark.packaging
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
NO_COMPILER = {
    "named but absent": {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"},
    "none on the path": {"PATH": "/nonexistent"},
}


@pytest.fixture
def copy(tmp_path):
    if not os.path.isfile(os.path.join(ROOT, "setup.py")):
        pytest.skip("no checkout to build from")
    pytest.importorskip("setuptools", minversion="70.1", reason="building without isolation needs it")
    ignore = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "*.so", "runs", "__pycache__", "results", "mnist"
    )
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=ignore)


def run(*arguments, cwd, program=sys.executable, **environment):
    """What the program prints."""
    done = subprocess.run(
        [program, *arguments], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# pip takes as long as the build.
PIP = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", "."]
SETUP = ["setup.py", "--quiet", "bdist_wheel", "--dist-dir", "wheels"]


def build_wheel(copy, command, **environment):
    """(file name of the wheel, {name in it: content}), built where MXNet and what it needs cannot be imported."""
    absent = copy / "absent"
    absent.mkdir()
    for package in ("mxnet", "numpy", "scipy"):
        (absent / f"{package}.py").write_text(f"raise ImportError('a build needs no {package}')")
    run(*command, cwd=copy, PYTHONPATH=str(absent), **environment)
    (wheel,) = os.listdir(copy / "wheels")
    with zipfile.ZipFile(copy / "wheels" / wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for file in FILES:
        assert content[f"gluon_bnn/_data/digits/{file}"] == (copy / "data/digits" / file).read_bytes()
    for name in ("reference/binary.py", "py.typed", "native/include/gluon_bnn.h", "zoo/mnist.safetensors"):
        assert f"gluon_bnn/{name}" in content
    assert any(name.endswith("LICENSE") for name in content)
    assert {name.split("/")[0].split("-")[0] for name in content} == {"gluon_bnn"}  # no tests
    return wheel, content


@pytest.mark.slow
def test_wheel(copy):
    compiler = shutil.which(os.environ.get("CXX", "c++").split()[0])
    if not compiler:
        pytest.skip("there is no C++ compiler here")
    # What is asked of the wheel does not depend on what its library computes: each source is replaced by an empty one.
    quick, empty = copy / "quick", copy / "empty.cc"
    empty.touch()
    quick.write_text(
        f'#!/bin/sh\nfor each; do shift; case $each in *.cc) each={empty} ;; esac; set -- "$@" "$each"; done\n'
        f'exec {compiler} "$@"\n'
    )
    quick.chmod(0o755)
    wheel, content = build_wheel(copy, PIP, CC=str(quick), CXX=str(quick))
    assert "-py3-none-" in wheel and not wheel.endswith("-any.whl")
    assert any(name.startswith("gluon_bnn/native/libgluon_bnn.") for name in content)
    assert {"gluon_bnn/deploy/c/functions/bits.h", "gluon_bnn/prove/classify.c"} <= content.keys()
    (metadata,) = (email.message_from_bytes(data) for name, data in content.items() if name.endswith("/METADATA"))
    assert metadata["Name"] == "gluon-bnn" and metadata["Version"] == gluon_bnn.__version__
    assert metadata["License"] == "Apache-2.0" and metadata["Requires-Python"] == ">=3.9"
    assert metadata.get_all("Provides-Extra") == ["experiments", "pictures", "onnx", "test"]
    assert metadata.get_payload().startswith("# gluon_bnn")


ONE_POOL = """
from gluon_bnn.native import library
library.load_operators()
with open("/proc/self/maps") as file:
    print(*{line.split()[-1] for line in file if "libgomp" in line})
"""


@pytest.mark.slow
def test_openmp_is_that_of_mxnet():
    """A process has one libgomp, or MXNet and the library would each have threads of their own."""
    if not library.available() or not os.path.exists("/proc/self/maps"):
        pytest.skip(library.problem() or "there is no /proc here")
    (loaded,) = run("-c", ONE_POOL, cwd=None).split()
    assert os.path.basename(loaded).startswith("libgomp.so.1")  # not a copy that somebody has renamed


@pytest.mark.slow
def test_wheel_for_arm(copy, tmp_path, emulated_arm):
    """Its library, loaded by an emulated processor, gives the bytes that the library of this machine does, and what it
    was linked from passes the tests in C++."""
    if os.uname().machine != "x86_64" or not library.available():
        pytest.skip(library.problem() or "ARM is not emulated here")
    # The kernels and products are optimised, as the wheel's are; the rest need not be fast, and takes long to compile,
    # but for training, of which the tests below take most of their time.
    cross, real = tmp_path / "cross" / "aarch64-linux-gnu-g++", shutil.which("aarch64-linux-gnu-g++")
    cross.parent.mkdir()
    cross.write_text(
        '#!/bin/sh\ncase "$*" in *kernels/*|*gemm.cc*) level= ;; *training.cc*) level=-O1 ;; *) level=-O0 ;; esac\n'
        f'exec {real} "$@" $level\n'
    )
    cross.chmod(0o755)
    # Without isolation, pip need not download setuptools.
    path = os.pathsep.join([str(cross.parent), os.path.dirname(sys.executable), os.environ["PATH"]])
    printed = run(
        tmp_path / "wheels",
        "aarch64",
        cwd=tmp_path,
        program=copy / ".ci" / "wheels",
        PATH=path,
        PIP_NO_BUILD_ISOLATION="0",
    )
    (wheel,) = os.listdir(tmp_path / "wheels")
    assert wheel == f"gluon_bnn-{gluon_bnn.__version__}-py3-none-linux_aarch64.whl"
    assert f"{wheel}: needs libgomp, GLIBC_2." in printed
    with zipfile.ZipFile(tmp_path / "wheels" / wheel) as archive:
        arm_library = archive.extract("gluon_bnn/native/libgluon_bnn.so", tmp_path)
        metadata = archive.read(f"gluon_bnn-{gluon_bnn.__version__}.dist-info/WHEEL").decode()
    assert "Tag: py3-none-linux_aarch64\n" in metadata
    dynamic = run("--dynamic", arm_library, cwd=tmp_path, program="aarch64-linux-gnu-readelf", LC_ALL="C")
    assert "Shared library: [libgomp.so.1]" in dynamic

    def results(compiler, shared_library, *emulator):
        program = tmp_path / compiler
        include = os.path.join(os.path.dirname(library.__file__), "include")
        run(
            "-std=gnu99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
            include,
            os.path.join(ROOT, "tests", "native", "wheel.c"),
            "-o",
            program,
            "-ldl",
            cwd=tmp_path,
            program=compiler,
        )
        models = sorted(path for path in glob.glob(os.path.join(GOLDEN, "*.safetensors")) if ".answers" not in path)
        done = subprocess.run([*emulator, program, shared_library, *models], capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stderr.decode().split(), done.stdout

    sets, here = results("gcc", library.path())
    arm_sets, there = results("aarch64-linux-gnu-gcc", arm_library, "qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
    assert arm_sets == ["serial", "neon"] and sets[0] == "serial" and "neon" not in sets
    assert len(here) > 100000 and there == here

    objects = map(str, copy.glob("build/temp*/**/*.o"))
    printed = run("arm64", *objects, cwd=tmp_path, program=os.path.join(ROOT, "tests", "native", "run.sh")).splitlines()
    assert len(printed) == 3 and all(line.startswith("ok: serial neon") for line in printed)


@pytest.mark.slow
@pytest.mark.parametrize("why", NO_COMPILER)
def test_wheel_without_a_compiler(copy, why):
    """It is a pure one, and nothing that earlier builds have left gets into it."""
    platform = sysconfig.get_platform()
    for root in (".", f"build/lib.{platform}-{sys.implementation.cache_tag}", f"build/bdist.{platform}/wheel"):
        native = copy / root / "gluon_bnn" / "native"
        native.mkdir(parents=True, exist_ok=True)
        (native / "libgluon_bnn.so").write_bytes(b"stale")
        if root != ".":
            (native / "stale.py").write_bytes(b"")
    wheel, content = build_wheel(copy, SETUP, **NO_COMPILER[why])
    assert wheel.endswith("-py3-none-any.whl")
    assert not [name for name in content if "libgluon_bnn" in name or "stale" in name]


@pytest.mark.slow
def test_sdist(copy):
    """It holds all that a build and the tests need, and of the results no frozen nets."""
    results = os.path.join("experiments", "results")
    shutil.copytree(os.path.join(ROOT, results), copy / results, ignore=shutil.ignore_patterns("*.safetensors"))
    net = os.path.join(results, "papers", "bnn-0.safetensors")
    (copy / net).write_bytes(b"as large as all the rest")
    run("setup.py", "--quiet", "sdist", cwd=copy)
    (name,) = os.listdir(copy / "dist")
    with tarfile.open(copy / "dist" / name) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    needed = {
        "setup.py",
        "pyproject.toml",
        *("README.md", "data/README.md", "experiments/README.md", "gluon_bnn/README.md"),
        *("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"),
        "gluon_bnn/zoo/mnist.safetensors",
        ".ci/wheels",
        "tests/conftest.py",
        "tests/native/common.h",
        "tests/native/wheel.c",
        "experiments/train_mnist.py",
        "experiments/tutorial.ipynb",
        *(f"data/digits/{file}" for file in FILES),
        *(str(file.relative_to(copy)) for file in (copy / "gluon_bnn/native").rglob("*.[ch]*")),
        *(str(file.relative_to(copy)) for file in (copy / "gluon_bnn/native").rglob("*.map")),
    }
    assert needed <= names, needed - names
    kept = ("notebook_bnn.json", os.path.join("papers", "bnn-0.json"), os.path.join("papers", "curves.png"))
    assert {os.path.join(results, name) for name in kept} <= names
    assert net not in names and not [name for name in names if name.endswith((".so", ".pyc"))]
