"""The command line, the compat layer and the native library's absence, each as a user meets it."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from gluon_bnn import _compat, check, doctor
from gluon_bnn.native import library

PACKAGE = os.path.dirname(os.path.abspath(check.__file__))


def python(*arguments, cwd=None, **environment):
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=env)


def test_check_command():
    done = python("-m", "gluon_bnn", "check", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["ok"] and len(report["rows"]) >= 126
    assert {row["mode"] for row in report["rows"]} == {"imperative", "hybridized", "exported"}


def test_check_can_fail(monkeypatch):
    """Break the reference's rule; every row of that rule has to fail, and no other."""
    real = check.binary.sign_scale_backward

    def wrong(g, w, scale="layer", gradient="xnor", *options, **more):
        return real(g, w, scale, gradient, *options, **more) * (1.0001 if gradient == "exact" else 1)
    monkeypatch.setattr(check.binary, "sign_scale_backward", wrong)
    table = check.check()
    assert not table.ok
    assert {row["gradient"] for row in table if not row["ok"]} == {"exact"}
    assert all(not row["ok"] for row in table if row["gradient"] == "exact")


def test_doctor_command():
    done = python("-m", "gluon_bnn", "doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["ok"] and not report["problems"]
    assert report["versions"]["mxnet"] == "1.9.1" and report["data"]["digits"]
    text = python("-m", "gluon_bnn", "doctor")
    assert text.returncode == 0 and "all is well" in text.stdout


def test_doctor_without_mxnet():
    code = ("import sys; sys.modules['mxnet'] = None; from gluon_bnn.__main__ import main; "
            "sys.exit(main(['doctor']))")
    done = python("-c", code)
    assert done.returncode == 1 and "PROBLEM: Apache MXNet is not installed" in done.stdout
    assert "numpy" in done.stdout and "Traceback" not in done.stderr


def test_doctor_without_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path))
    report = doctor.examine()
    if report["data"]["mnist"] is None:  # a checkout's data/mnist may be there
        assert report["ok"] and any("MNIST" in text for text in report["advice"])


@pytest.mark.parametrize("error, advice", [
    (OSError("libquadmath.so.0: cannot open shared object file: No such file or directory"),
     "apt-get install libquadmath0"),
    (OSError("libgomp.so.1: cannot open shared object file: No such file"), "apt-get install libgomp1"),
    (OSError("libfoo.so.3: cannot open shared object file"), "provides libfoo.so.3"),
    (ModuleNotFoundError("No module named 'mxnet'", name="mxnet"), "pip install mxnet==1.9.1"),
    (ModuleNotFoundError("No module named 'distutils'", name="distutils"), "pip install setuptools"),
    (ImportError("something else"), "something else")])
def test_explanations(error, advice):
    assert advice in _compat.explain(error)


def test_threads_are_set_and_a_users_setting_wins():
    code = "from gluon_bnn._compat import mx; import os; print(os.environ['OMP_NUM_THREADS'])"
    assert python("-c", code, OMP_NUM_THREADS="3").stdout == "3\n"
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert int(done.stdout) == _compat.physical_cores()


@pytest.mark.parametrize("set_by_user, expected", [
    ({}, ["ACTIVE", "10000", None, None]), ({"OMP_WAIT_POLICY": "PASSIVE"}, ["PASSIVE", None, "PASSIVE", None]),
    ({"GOMP_SPINCOUNT": "7"}, [None, "7", None, "7"])])
def test_threads_wait_as_the_user_says(set_by_user, expected):
    """What libgomp sees when MXNet loads it, and what is left of it afterwards."""
    code = """if True:
        import json, os, sys
        found = []
        def look():
            found.extend(map(os.environ.get, ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")))
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "mxnet":
                    look()
        sys.meta_path.insert(0, Finder())
        from gluon_bnn._compat import mx
        look()
        print(json.dumps(found))"""
    env = {k: v for k, v in os.environ.items() if k not in _compat.WAITING}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**env, **set_by_user})
    assert json.loads(done.stdout) == expected, done.stderr


@pytest.mark.parametrize("first", ["from gluon_bnn._compat import mx",
                                   "from gluon_bnn.native import library; library.available()"])
def test_threads_spin_whichever_loads_openmp(first):
    code = f"{first}; from gluon_bnn._compat import mx"
    env = {**{k: v for k, v in os.environ.items() if k not in _compat.WAITING}, "OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    for name, value in _compat.WAITING.items():
        assert f"{name} = '{value}'" in done.stderr


def copy_of_package(tmp_path):
    """The package without its library and data, to be used from tmp_path."""
    shutil.copytree(PACKAGE, tmp_path / "gluon_bnn",
                    ignore=shutil.ignore_patterns("*.so", "__pycache__", "_data"))
    return tmp_path / "gluon_bnn" / "native" / "libgluon_bnn.so"


USE = """
import sys, warnings
sys.path.insert(0, {path!r})
import gluon_bnn
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    for _ in range(2):
        net = gluon_bnn.nn.BinaryDense(3, in_units=2)
net.initialize()
mx = gluon_bnn._compat.mx
assert gluon_bnn.check_net(net, mx.nd.ones((5, 2))).ok
print(gluon_bnn.native.library.problem())
print([str(w.message) for w in seen if "binary layers run" in str(w.message)])
"""


@pytest.mark.parametrize("kind, word", [("absent", "was not built"), ("empty", "cannot be loaded"),
                                        ("text", "cannot be loaded"), ("truncated", "is cut off"),
                                        ("last byte gone", "is cut off")])
def test_without_a_usable_library(tmp_path, kind, word):
    target = copy_of_package(tmp_path)
    if kind == "empty":
        target.write_bytes(b"")
    elif kind == "text":
        target.write_bytes(b"not a library" * 1000)
    elif kind != "absent":
        if library.path() is None:
            pytest.skip(library.problem())
        with open(library.path(), "rb") as file:
            target.write_bytes(file.read()[:3000 if kind == "truncated" else -1])
    done = python("-c", USE.format(path=str(tmp_path)), cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr
    problem, warned = done.stdout.splitlines()
    assert word in problem and "install a C++ compiler" in problem
    assert warned.count("binary layers run on MXNet's own operators") == 1, "warned once"
    code = USE.format(path=str(tmp_path)).split("with warnings")[0] + "gluon_bnn.nn.BinaryDense(3)"
    done = python("-c", code, cwd=str(tmp_path), GLUON_BNN_OPS="native")
    assert "OSError" in done.stderr and word in done.stderr
