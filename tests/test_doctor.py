"""`python -m gluon_bnn doctor`: whatever is broken is a line of its report, and what it advises cures."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gluon_bnn
from gluon_bnn import _installation, _missing, doctor
from gluon_bnn.native import library

from needs import needs_library

PACKAGE = Path(gluon_bnn.__file__).resolve().parent
# Modules that MXNet or training import, all of them empty, but for what is imported of one by name.
FAKES = {"scipy": "", "tqdm": "tqdm = 0", "requests": "", "distutils": ""}


def run(*arguments, cwd=None, stdout=subprocess.PIPE, **environment):
    """A process of Python; a variable that is None is not set in it."""
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={name: value for name, value in env.items() if value is not None},
    )


@pytest.fixture
def examine(monkeypatch, tmp_path):
    """`doctor.examine` in this process, without the large data sets."""
    monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path))
    for name in ("GLUON_BNN_OPS", "GLUON_BNN_ISA", "DMLC_ROLE"):
        monkeypatch.delenv(name, raising=False)
    return doctor.examine


def add(directory, **modules):
    """Put modules, {name: source}, where they are imported from, in place of those of these names."""
    for name, source in modules.items():
        path = directory / name
        if os.path.lexists(path):
            os.unlink(path)
        path.mkdir()
        (path / "__init__.py").write_text(source)


@pytest.fixture
def bare(tmp_path):
    """A directory with this package, NumPy and safetensors, and a way to run the doctor with nothing else.

    The package has the library that was built. Further modules are given as source; the fixture gives the directory and
    the function.
    """
    shutil.copytree(PACKAGE, tmp_path / "gluon_bnn", ignore=shutil.ignore_patterns("__pycache__", "_data"))
    for name in ("numpy", "safetensors"):
        module = __import__(name)
        site = Path(module.__file__).parent.parent
        for path in site.glob(f"{name}*"):
            os.symlink(path, tmp_path / path.name)

    def run_doctor(*options, **modules):
        add(tmp_path, **modules)
        return run(
            "-S", "-m", "gluon_bnn", "doctor", *options, cwd=tmp_path, PYTHONPATH=str(tmp_path), GLUON_BNN_DATA=None
        )

    return tmp_path, run_doctor


def problems(done):
    assert not done.stderr, done.stderr
    assert done.returncode == 1, done.stdout
    return [line for line in done.stdout.splitlines() if line.startswith("PROBLEM: ")]


class TestWell:
    @pytest.mark.slow
    def test_command(self):
        done = run("-m", "gluon_bnn", "doctor", "--json")
        report = json.loads(done.stdout)
        assert done.returncode == 0 and report["ok"] and not report["problems"]
        assert report["versions"]["mxnet"] == "1.9.1" and report["data"]["digits"]
        assert report["package"]["path"] == str(PACKAGE) and not report["runtime_only"] and not report["crashes"]

    def test_as_text(self, examine):
        text = doctor.describe(examine())
        assert text.endswith("\nall is well") and f"imported from   {PACKAGE}\n" in text

    @pytest.mark.parametrize(
        "name, version, says",
        [
            ("Python", "3.15.0a2", "on Python 3.9 to 3.14, and this is Python 3.15.0a2"),
            ("Python", "3.14.8", None),
            ("Python", "3.9.2", None),
            ("Python", "4.0.0", "and this is Python 4.0.0"),
            ("NumPy", "2.17.0", None),
            ("NumPy", "1.19.5", None),
            ("NumPy", "3.0.0rc1", "on NumPy 1 to 2, and this is NumPy 3.0.0rc1"),
            ("NumPy", None, None),
        ],
    )
    def test_versions_that_were_not_tried(self, examine, monkeypatch, name, version, says):
        """They may well work: nothing is refused, and what does not work says it."""
        if name == "Python":
            monkeypatch.setattr(_missing.platform, "python_version", lambda: version)
        else:
            monkeypatch.setattr(_missing, "installed", lambda package: version)
        report = examine()
        advice = [text for text in report["advice"] if "has been tried" in text]
        explained = _missing.explain(AttributeError("no such name"))
        assert report["ok"] and len(advice) == ("has been tried" in explained) == bool(says)
        assert not says or says in advice[0] and advice[0] in explained and "AttributeError: no such name" in explained

    def test_without_mnist(self, examine, monkeypatch, tmp_path):
        monkeypatch.setenv("MXNET_HOME", str(tmp_path))
        report = examine()
        if report["data"]["mnist"] is None:  # a checkout's data/mnist may be there
            assert report["ok"] and any("MNIST" in text for text in report["advice"])

    @pytest.mark.slow
    def test_runtime_only(self, bare):
        done = bare[1]()
        assert (done.returncode, done.stderr) == (0, ""), done
        assert "all is well, runtime only" in done.stdout and "PROBLEM" not in done.stdout
        assert "pip install scipy tqdm " in done.stdout
        assert "no Pillow, so pictures cannot be read, by `predict` or as data: pip install pillow" in done.stdout
        assert "requests 'graphviz<0.9' && pip install --no-deps mxnet==1.9.1" in done.stdout
        for name in ("scipy is not", "tqdm is not", "matplotlib, so", "MNIST"):
            assert name not in done.stdout

    @pytest.mark.slow
    def test_what_a_runtime_only_install_runs(self, bare):
        code = """if True:
            import sys
            import numpy as np
            from gluon_bnn import runtime
            from gluon_bnn.graph.graph import Graph, Node
            nodes = Node("input", (), {"shape": (3,)}), Node("activation", (0,), {"function": "relu"})
            model = runtime.Model(Graph(nodes))
            print(model(np.array([[-1, 0, 2]], np.float32)).tolist(), {"mxnet", "scipy"} & set(sys.modules))"""
        done = run("-S", "-c", code, cwd=bare[0], PYTHONPATH=str(bare[0]))
        assert done.stdout == "[[0.0, 0.0, 2.0]] set()\n", done.stderr


class TestBroken:
    @pytest.mark.slow
    def test_without_mxnet(self):
        """Pip has a record of it, so its files are gone: this is not a runtime-only install."""
        code = (
            "import sys; sys.modules['mxnet'] = None; from gluon_bnn.__main__ import main; sys.exit(main(['doctor']))"
        )
        done = run("-c", code)
        assert done.returncode == 1 and "PROBLEM: mxnet is not installed: " in done.stdout
        assert "numpy" in done.stdout and "Traceback" not in done.stderr
        assert "pip install mxnet==1.9.1 --force-reinstall --no-deps" in done.stdout

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "package, source, says",
        [
            ("numpy", "raise ImportError('libx is\\n\\nodd')", "(ImportError: libx is odd)"),
            ("safetensors", "raise RuntimeError", "(RuntimeError: )"),
            ("numpy", "1 +", "(SyntaxError: "),
            ("safetensors", "raise SystemExit('bye')", "(SystemExit: bye)"),
        ],
    )
    def test_packages_that_do_not_import(self, bare, package, source, says):
        (found,) = problems(bare[1](**{package: source}))
        assert found.startswith(f"PROBLEM: {package} is installed but cannot be imported {says}")
        assert found.endswith(f"pip install --force-reinstall --no-deps {package}")

    @pytest.mark.slow
    def test_both_end_the_process(self, bare):
        found = problems(bare[1](numpy="import os; os._exit(3)", safetensors="import os; os.kill(os.getpid(), 11)"))
        command = "pip install --force-reinstall --no-deps"
        assert found == [
            f"PROBLEM: loading numpy ends Python, with exit code 3: {command} numpy",
            f"PROBLEM: loading safetensors ends Python, by SIGSEGV: {command} safetensors",
        ]

    @pytest.mark.slow
    def test_a_package_that_is_not_there(self, bare):
        os.unlink(bare[0] / "safetensors")
        for path in bare[0].glob("safetensors-*"):
            os.unlink(path)
        assert problems(bare[1]()) == ["PROBLEM: safetensors is not installed: pip install safetensors"]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "source, says",
        [
            (
                "raise OSError('libfoo.so.3: cannot open shared object file: No such file or directory')",
                "MXNet cannot be imported: libfoo.so.3 is not among the system's libraries: install what provides lib",
            ),
            (
                "raise RuntimeError('Cannot find the MXNet library.')",
                "MXNet is damaged: pip install mxnet==1.9.1 --force",
            ),
            ("import gone", "MXNet cannot be imported: gone is not installed: pip install gone"),
            (
                "import os; os.abort()",
                "loading mxnet ends Python, by SIGABRT: pip install mxnet==1.9.1 --force-reinstall",
            ),
            ("__version__ = '2.0'", "needs MXNet 1.9.1, found 2.0: pip install mxnet==1.9.1 --force-reinstall"),
        ],
    )
    def test_mxnet_that_does_not_import(self, bare, source, says):
        found = problems(bare[1](mxnet=source, **FAKES))
        assert [says in line for line in found if "scipy" not in line and "digits" not in line] == [True], found

    def test_a_part_that_the_doctor_cannot_examine(self, examine, monkeypatch):
        def broken():
            raise ZeroDivisionError("no\nreason")

        monkeypatch.setattr(_installation, "find", broken)
        report = examine()
        assert "the doctor could not examine this part: package (ZeroDivisionError: no reason)" in report["problems"]
        assert report["data"]["digits"], "the other parts are there"
        assert doctor.describe(report)

    def test_an_import_that_does_not_end(self, monkeypatch):
        monkeypatch.setattr(doctor, "TIMEOUT", 1)
        assert doctor._crashes({"a": "pass", "b": "import time; time.sleep(600)", "c": "exit(5)"}) == {
            "b": "does not end within 1 seconds"
        }

    @pytest.mark.slow
    @pytest.mark.parametrize("role", ["server", "scheduler"])
    def test_a_role_of_a_distributed_job(self, bare, monkeypatch, role):
        """MXNet would not come back from its import, so nothing may import it."""
        monkeypatch.setenv("DMLC_ROLE", role)
        found = problems(bare[1](mxnet="import os; os._exit(3)", **FAKES))
        assert any(f"DMLC_ROLE={role}" in line and "unset DMLC_ROLE" in line for line in found)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "damage, says",
        [
            (lambda content: content[:3000], "is cut off"),
            (lambda content: b"", "cannot be loaded"),
            (lambda content: content[:64] + bytes(len(content) - 64), "cannot be"),
        ],
    )
    @needs_library
    def test_a_damaged_library(self, bare, damage, says):
        path = bare[0] / "gluon_bnn" / "native" / os.path.basename(library.path())
        path.write_bytes(damage(path.read_bytes()))
        done = bare[1]()
        assert (done.returncode, done.stderr) == (0, ""), "the runtime runs on NumPy"
        assert "advice: the native library cannot be loaded" in done.stdout and says in done.stdout


class TestVariables:
    def test_operators(self, examine, monkeypatch):
        monkeypatch.setenv("GLUON_BNN_OPS", "nativ")
        assert examine()["problems"] == [
            "GLUON_BNN_OPS takes one of auto, native, composed, got 'nativ'; unset GLUON_BNN_OPS for auto"
        ]

    @pytest.mark.slow
    @needs_library
    def test_both(self, bare, monkeypatch):
        """A bogus instruction set is a problem of the report, not its end."""
        monkeypatch.setenv("GLUON_BNN_OPS", "nativ")
        monkeypatch.setenv("GLUON_BNN_ISA", "avx3")
        allowed = ", ".join(library.instruction_sets())
        isa, operators = problems(bare[1]())
        assert isa == (
            f"PROBLEM: GLUON_BNN_ISA must be one of {allowed} on this machine, got 'avx3'; "
            "unset GLUON_BNN_ISA for the fastest of them"
        )
        assert "unset GLUON_BNN_OPS" in operators

    @pytest.mark.parametrize("choice", ["auto", "native", "composed", ""])
    def test_allowed_ones(self, examine, monkeypatch, choice):
        if choice == "native" and not library.available():
            pytest.skip(library.problem())
        monkeypatch.setenv("GLUON_BNN_OPS", choice)
        assert examine()["ok"]

    @pytest.mark.slow
    def test_native_without_the_library(self, bare, monkeypatch):
        for path in (bare[0] / "gluon_bnn" / "native").glob("libgluon_bnn.*"):
            path.unlink()
        monkeypatch.setenv("GLUON_BNN_OPS", "native")
        (found,) = problems(bare[1]())
        assert "GLUON_BNN_OPS=native asks for the native library" in found and "or unset GLUON_BNN_OPS" in found

    @pytest.mark.parametrize("make", [lambda path: None, Path.touch])
    def test_data(self, examine, monkeypatch, tmp_path, make):
        make(tmp_path / "x")
        monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path / "x"))
        report = examine()
        assert report["ok"] and any(f"GLUON_BNN_DATA={tmp_path}/x is no directory" in text for text in report["advice"])

    @pytest.mark.parametrize("name, kind", [("digits", "problems"), ("mnist", "advice")])
    def test_damaged_data(self, examine, tmp_path, name, kind):
        shutil.copytree(PACKAGE.parent / "data" / "digits", tmp_path / name)
        file = tmp_path / name / "train-labels-idx1-ubyte.gz"
        file.unlink()
        file.mkdir()
        assert any(str(tmp_path / name) in text for text in examine()[kind])

    @pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/x"), MemoryError("no room")])
    def test_data_that_cannot_be_read(self, examine, monkeypatch, error):
        def fail(*_):
            raise error

        monkeypatch.setattr(gluon_bnn.data, "check", fail)
        assert any(str(error) in text for text in examine()["problems"])


class TestSystemLibraries:
    LINE = (
        "libgomp.so.1, libquadmath.so.0 are not among the system's libraries: "
        "apt-get install libgomp1 libquadmath0 (on Debian or Ubuntu)"
    )
    MISSING = "\tlibgomp.so.1 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x0)\n\tlibquadmath.so.0 => not found\n"

    @pytest.fixture
    def lacking(self, monkeypatch, tmp_path):
        """A machine without two libraries, as its ldd says and its loader agrees."""
        ldd = tmp_path / "bin" / "ldd"
        ldd.parent.mkdir()
        ldd.write_text(f"#!/bin/sh\nprintf '{self.MISSING}'\n")
        ldd.chmod(0o755)
        monkeypatch.setenv("PATH", str(ldd.parent), prepend=os.pathsep)
        monkeypatch.setattr(_missing, "_can_be_loaded", lambda name: name == "libstdc++.so.6")
        monkeypatch.setattr(library, "path", lambda: "x")

    def test_all_are_named_in_one_line(self, examine, lacking):
        assert examine()["problems"] == [self.LINE]

    def test_the_import_of_mxnet_names_all_too(self, lacking):
        error = OSError("libgomp.so.1: cannot open shared object file: No such file or directory")
        assert _missing.explain(error) == f"MXNet cannot be imported: {self.LINE}"

    def test_with_a_compiler_and_modules(self, examine, lacking, monkeypatch):
        """All that a minimal system and an install without dependencies lack, in the order in which it has to come."""
        for name, value in (("path", lambda: None), ("_opened", None)):
            monkeypatch.setattr(library, name, value)
        monkeypatch.setenv("CXX", "/nonexistent/c++ -pthread")
        there = _missing.is_there
        monkeypatch.setattr(_missing, "is_there", lambda name: name not in ("distutils", "requests") and there(name))
        monkeypatch.setattr(
            _missing, "installed", lambda package: None if package in ("requests", "setuptools") else "1.9.1"
        )
        line = (
            "setuptools, requests are not installed; libgomp.so.1, libquadmath.so.0 are not among the system's "
            "libraries; the native library, without which binary layers are slower, was not built for want of a "
            "C++ compiler: apt-get install g++ libgomp1 libquadmath0 (on Debian or Ubuntu); "
            f"pip install setuptools requests; {_installation.find().command}"
        )
        report = examine()
        assert report["problems"] == [line]
        assert not [text for text in report["advice"] if "apt-get" in text], "it has been named"
        assert _missing.explain(ModuleNotFoundError("requests", name="requests")).endswith(line)

    @pytest.mark.parametrize(
        "machine, says",
        [
            ("x86_64", "libgomp1 libquadmath0 (on Debian or Ubuntu); pip install mxnet"),
            ("sparc64", "that: pip install mxnet"),
        ],
    )
    def test_before_mxnet_is_installed(self, examine, lacking, monkeypatch, machine, says):
        """They are named with it, not only after it."""
        monkeypatch.setattr(_missing.platform, "machine", lambda: machine)
        monkeypatch.setitem(sys.modules, "mxnet", None)
        monkeypatch.setattr(doctor, "_version", lambda package: None if package == "mxnet" else "1")
        (advice,) = (text for text in examine()["advice"] if text.startswith("runtime only"))
        assert says in advice

    @pytest.mark.slow
    def test_an_import_on_a_bare_system(self, bare, monkeypatch, tmp_path):
        """One ImportError names all, and so does the doctor."""
        for path in (tmp_path / "gluon_bnn" / "native").glob("libgluon_bnn.*"):
            path.unlink()
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.delenv("CXX", raising=False)
        fakes = {**FAKES, "mxnet": "raise OSError('libfoo.so.3: cannot open shared object file: No such file')"}
        del fakes["tqdm"], fakes["requests"]
        (found,) = [line for line in problems(bare[1](**fakes)) if "tqdm" in line]
        assert "apt-get install g++ " in found and "; pip install tqdm requests; pip install --force-reinstall" in found
        for statement in ("from gluon_bnn import mx", "import gluon_bnn, mxnet", "import gluon_bnn; gluon_bnn.nn"):
            said = run("-S", "-c", statement, cwd=tmp_path, PYTHONPATH=str(tmp_path)).stderr.splitlines()[-1]
            assert said.startswith("ImportError: MXNet cannot be imported: tqdm, requests are not installed; ")
            assert "apt-get install g++ " in said and said.count("apt-get") == 1
            assert "; install what provides libfoo.so.3; pip install tqdm requests; pip install --force-rei" in said

    def test_without_ldd(self, lacking, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert _missing.missing_libraries("x") == ["libgcc_s.so.1", "libgomp.so.1", "libquadmath.so.0"]

    def test_what_another_place_provides_is_not_missing(self, lacking, monkeypatch):
        """Where Python itself knows a directory of libraries, as conda's does, ldd does not look in it."""
        monkeypatch.setattr(_missing, "_can_be_loaded", lambda name: name == "libgomp.so.1")
        assert _missing.missing_libraries("x") == ["libquadmath.so.0"]

    def test_none_is_missing_here(self):
        assert _missing.missing_libraries(_missing.mxnet_library()) == []

    @pytest.mark.slow
    @needs_library
    @pytest.mark.skipif(not shutil.which("ldd"), reason="there is no ldd here")
    def test_a_real_one(self, bare):
        """Our library made to need two that do not exist: a compiler would not help."""
        path = bare[0] / "gluon_bnn" / "native" / os.path.basename(library.path())
        content = path.read_bytes()
        path.write_bytes(content.replace(b"libgomp.so.1\0", b"libgomq.so.1\0").replace(b"libm.so.6\0", b"libq.so.6\0"))
        if path.read_bytes() == content:
            pytest.skip("this library needs other ones")
        lost = [name for name in ("libgomq.so.1", "libq.so.6") if name.encode() in path.read_bytes()]
        assert _missing.missing_libraries(path) == lost
        done = bare[1]()
        assert f"install what provides {', '.join(lost)}\n" in done.stdout and "compiler" not in done.stdout


class TestWhichCopy:
    """A site-packages, a checkout and what pip wrote, all made up."""

    @pytest.fixture
    def place(self, tmp_path, monkeypatch):
        checkout, site = tmp_path / "my checkout", tmp_path / "site"
        for directory in checkout, site:
            (directory / "gluon_bnn").mkdir(parents=True)
        (checkout / "setup.py").touch()
        monkeypatch.setattr(sys, "path", [str(site)])
        monkeypatch.delenv("PYTHONPATH", raising=False)
        monkeypatch.chdir(tmp_path)

        def find(running, origin=None, metadata="gluon_bnn-0.1.0.dist-info/METADATA"):
            if metadata:
                path = tmp_path / metadata if "/" not in metadata.rstrip("/") else site / metadata
                path.parent.mkdir(exist_ok=True)
                path.write_text("Metadata-Version: 2.1\nName: gluon-bnn\nVersion: 0.1.0\n")
                if origin is not None:
                    (path.parent / "direct_url.json").write_text(origin)
            monkeypatch.setattr(_installation, "__file__", str(running / "gluon_bnn" / "_installation.py"))
            return _installation.find()

        return checkout, site, find

    def origin(self, path, **info):
        return json.dumps({"url": path.as_uri(), "dir_info": info})

    def test_editable(self, place):
        checkout, _, find = place
        found = find(checkout, self.origin(checkout, editable=True))
        assert found == (checkout / "gluon_bnn", "editable", checkout, None)
        assert found.command == f"pip install --force-reinstall --no-deps -e '{checkout}'"
        assert str(found) == f"editable, from {checkout}"

    def test_wheel_of_a_checkout(self, place):
        checkout, site, find = place
        found = find(site, self.origin(checkout))
        assert found == (site / "gluon_bnn", "installed", checkout, None)
        assert found.command == f"pip install --force-reinstall --no-deps '{checkout}'"

    @pytest.mark.parametrize(
        "origin",
        [
            None,
            "",
            "{",
            "[]",
            '{"url": 5}',
            '{"url": "file:///nowhere", "dir_info": {}}',
            '{"url": "https://example.org/gluon_bnn.whl", "archive_info": {}}',
            '{"url": "file:///nowhere", "dir_info": {"editable": true}}',
        ],
    )
    def test_wheel_from_elsewhere(self, place, origin):
        _, site, find = place
        found = find(site, origin)
        assert found == (site / "gluon_bnn", "installed", None, None)
        assert found.command == "pip install --force-reinstall --no-deps . (in a checkout of gluon_bnn)"

    def test_a_checkout_hides_the_wheel(self, place, monkeypatch):
        checkout, site, find = place
        found = find(checkout, self.origin(checkout))
        assert found == (checkout / "gluon_bnn", "checkout", checkout, site / "gluon_bnn")
        assert found.command == f"pip install --force-reinstall --no-deps -e '{checkout}'"
        assert f"{checkout}/gluon_bnn runs in place of the installed copy {site}/gluon_bnn" in found.why_hidden
        assert "comes first in sys.path" in found.why_hidden
        monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{checkout}/")
        assert found.why_hidden.endswith("unset PYTHONPATH")
        monkeypatch.chdir(checkout)
        assert found.why_hidden.endswith("start Python in another directory")

    def test_a_checkout_that_was_not_installed(self, place):
        checkout, _, find = place
        found = find(checkout, metadata=None)
        assert found == (checkout / "gluon_bnn", "checkout", checkout, None)

    def test_what_a_build_left_is_no_installation(self, place, monkeypatch):
        checkout, _, find = place
        monkeypatch.setattr(sys, "path", [str(checkout), *sys.path])
        (checkout / "gluon_bnn.egg-info").mkdir()
        (checkout / "gluon_bnn.egg-info" / "PKG-INFO").write_text("Name: gluon-bnn\nVersion: 0\n")
        assert find(checkout, metadata=None).how == "checkout"

    def test_a_copy(self, place, tmp_path):
        (tmp_path / "copy" / "gluon_bnn").mkdir(parents=True)
        found = place[2](tmp_path / "copy", metadata=None)
        assert found.how == "copy" and found.command.endswith(". (in a checkout of gluon_bnn)")

    @pytest.mark.slow
    def test_the_doctor_says_it(self, bare):
        """A checkout without its library in the current directory, a wheel in site-packages."""
        root, _ = bare
        (root / "setup.py").touch()
        for path in (root / "gluon_bnn" / "native").glob("libgluon_bnn.*"):
            path.unlink()
        (root / "site" / "gluon_bnn").mkdir(parents=True)
        (root / "site" / "gluon_bnn-0.1.0.dist-info").mkdir()
        (root / "site" / "gluon_bnn-0.1.0.dist-info" / "METADATA").write_text("Name: gluon-bnn\nVersion: 0.1.0\n")
        done = run("-S", "-m", "gluon_bnn", "doctor", cwd=root, PYTHONPATH=str(root / "site"), GLUON_BNN_DATA=None)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"  imported from   {root}/gluon_bnn\n  installed       no, it is the checkout {root}\n" in done.stdout
        hides = (
            f"{root}/gluon_bnn runs in place of the installed copy {root}/site/gluon_bnn, because it lies in the "
            "current directory: to run that, start Python in another directory"
        )
        command = f"pip install --force-reinstall --no-deps -e {root}"
        assert f"advice: {hides}; to install this copy: {command}\n" in done.stdout
        assert "advice: the native library was not built; install" in done.stdout


class TestCommandLine:
    """Of both commands: what they do needs no more than one line here."""

    CODE = """if True:
        import os, signal, sys
        from gluon_bnn import __main__, doctor
        def examine():
            if {interrupted}:
                os.kill(os.getpid(), signal.SIGINT)
            return dict(ok=True, text="x" * 100_000)
        doctor.examine, doctor.describe = examine, str
        sys.exit(__main__.main({arguments!r}))"""

    def run(self, *arguments, interrupted=False, **options):
        code = self.CODE.format(arguments=arguments, interrupted=interrupted)
        return run("-c", code, PYTHONUNBUFFERED=None, **options)

    @pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"], ["--help"], ["check", "--help"]])
    def test_a_reader_that_leaves(self, arguments):
        reader, writer = os.pipe()
        os.close(reader)
        with contextlib.closing(os.fdopen(writer, "w")) as stdout:
            done = self.run(*arguments, stdout=stdout)
        assert (done.returncode, done.stderr) == (141, "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
    def test_a_full_disk(self):
        with open("/dev/full", "w") as stdout:
            done = self.run("doctor", stdout=stdout)
        assert done.returncode == 1 and done.stderr == (
            "the output cannot be written: [Errno 28] No space left on device\n"
        )

    @pytest.mark.slow
    def test_text_that_cannot_be_shown(self, bare, monkeypatch):
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        monkeypatch.setenv("GLUON_BNN_OPS", "\udcffü")
        (found,) = problems(bare[1]())
        assert "GLUON_BNN_OPS" in found and "\\udcff\\xfc" in found

    def test_interrupted(self):
        done = self.run("doctor", interrupted=True)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "choice, source",
        [("auto", "raise RuntimeError('Cannot find\\nthe MXNet library.')"), ("composed", "import gone")],
    )
    def test_check_without_mxnet(self, bare, source, choice):
        add(bare[0], mxnet=source)
        done = run("-S", "-m", "gluon_bnn", "check", cwd=bare[0], PYTHONPATH=str(bare[0]), GLUON_BNN_OPS=choice)
        assert done.returncode == 1 and not done.stdout
        (line,) = done.stderr.splitlines()
        assert "MXNet" in line and "pip install" in line and line.endswith("; `python -m gluon_bnn doctor` says more")

    @pytest.mark.parametrize("name", ["GLUON_BNN_OPS", "GLUON_BNN_ISA"])
    def test_check_names_a_wrong_variable(self, name):
        if name == "GLUON_BNN_ISA" and not library.available():
            pytest.skip(library.problem())
        done = run("-m", "gluon_bnn", "check", **{name: "bogus"})
        assert done.returncode == 1 and not done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith(name) and "got 'bogus'" in line and "doctor" in line
