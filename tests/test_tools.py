"""The compat layer, the command lines and the native library's absence, each as a user meets it."""

import json
import os
import shutil

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import _compat, _missing
from gluon_bnn.native import library

import programs

PACKAGE = os.path.dirname(os.path.abspath(gluon_bnn.__file__))


@pytest.mark.parametrize(
    "error, advice",
    [
        (
            OSError("libquadmath.so.0: cannot open shared object file: No such file or directory"),
            "apt-get install libquadmath0",
        ),
        (OSError("libgomp.so.1: cannot open shared object file: No such file"), "apt-get install libgomp1"),
        (OSError("libfoo.so.3: cannot open shared object file"), "provides libfoo.so.3"),
        (ModuleNotFoundError("No module named 'mxnet'", name="mxnet"), "pip install mxnet==1.9.1 --force-reinstall"),
        (
            ModuleNotFoundError("No module named 'distutils'", name="distutils"),
            "setuptools is not installed: pip install",
        ),
        (ModuleNotFoundError("No module named 'requests'", name="requests"), "requests is not installed: pip install"),
        (ModuleNotFoundError("No module named 'gone'", name="gone"), "gone is not installed: pip install gone"),
        (
            ModuleNotFoundError("No module named 'numpy.gone'", name="numpy.gone"),
            "No module named 'numpy.gone'; if the",
        ),
        (ModuleNotFoundError("No module named 'mxnet.base'", name="mxnet.base"), "--force-reinstall --no-deps"),
        (ImportError("something else"), "something else"),
    ],
)
def test_explanations(error, advice):
    assert advice in _missing.explain(error)


@pytest.mark.slow
def test_threads_are_set_and_a_users_setting_wins():
    code = "from gluon_bnn._compat import mx; import os; print(os.environ['OMP_NUM_THREADS'])"
    assert programs.output("-c", code, OMP_NUM_THREADS="3") == "3\n"
    assert int(programs.output("-c", code, OMP_NUM_THREADS=None)) == _compat.physical_cores()


@pytest.mark.slow
@pytest.mark.parametrize(
    "set_by_user, expected",
    [
        ({}, ["ACTIVE", "10000", None, None]),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, ["PASSIVE", None, "PASSIVE", None]),
        ({"GOMP_SPINCOUNT": "7"}, [None, "7", None, "7"]),
    ],
)
def test_threads_wait_as_the_user_says(set_by_user, expected):
    """What libgomp sees when MXNet loads it, and what is left of it afterwards."""
    code = """if True:
        import json, os, sys
        found = []
        def look():
            found.extend(map(os.environ.get, ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")))
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "mxnet.libinfo":
                    look()
        sys.meta_path.insert(0, Finder())
        from gluon_bnn._compat import mx
        look()
        print(json.dumps(found))"""
    assert json.loads(programs.output("-c", code, **{**dict.fromkeys(_compat.WAITING), **set_by_user})) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["from gluon_bnn._compat import mx", "from gluon_bnn.native import library; library.available()"]
)
def test_threads_spin_whichever_loads_openmp(first):
    code = f"{first}; from gluon_bnn._compat import mx"
    done = programs.run("-c", code, **dict.fromkeys(_compat.WAITING), OMP_DISPLAY_ENV="VERBOSE")
    for name, value in _compat.WAITING.items():
        assert f"{name} = '{value}'" in done.stderr


def copy_of_package(tmp_path):
    """The package without its library and data, to be used from tmp_path."""
    shutil.copytree(PACKAGE, tmp_path / "gluon_bnn", ignore=shutil.ignore_patterns("*.so", "__pycache__", "_data"))
    return tmp_path / "gluon_bnn" / "native" / "libgluon_bnn.so"


USE = """
import os, sys, warnings
sys.path.insert(0, {path!r})
import gluon_bnn
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    for _ in range(2):
        net = gluon_bnn.nn.BinaryDense(3, in_units=2)
net.initialize()
mx = gluon_bnn._compat.mx
assert gluon_bnn.check_net(net, mx.nd.ones((5, 2))).ok
print([str(w.message) for w in seen if "binary layers run" in str(w.message)])
os.environ["GLUON_BNN_OPS"] = "native"
try:
    gluon_bnn.nn.BinaryDense(3)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind, word", [("absent", "was not built"), ("truncated", "is cut off")])
def test_without_a_usable_library(tmp_path, kind, word):
    target = copy_of_package(tmp_path)
    if kind == "truncated":
        if library.path() is None:
            pytest.skip(library.problem())
        with open(library.path(), "rb") as file:
            target.write_bytes(file.read()[:3000])
    warned, refused = programs.output("-c", USE.format(path=str(tmp_path)), cwd=str(tmp_path)).splitlines()
    assert warned.count("binary layers run on MXNet's own operators") == 1, "warned once"
    assert word in refused and "install gluon_bnn again" in refused


def test_the_launcher_takes_a_dash_and_names_what_it_cannot_start():
    assert programs.run("-m", "gluon_bnn.launch", "-n", "1", "--", "true").returncode == 0
    done = programs.run("-m", "gluon_bnn.launch", "-n", "1", "no-such-program")
    assert done.returncode == 1
    assert done.stderr == "cannot start 'no-such-program': No such file or directory\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "import gluon_bnn, mxnet",
        "from gluon_bnn import mx as mxnet",
        "import gluon_bnn\nimport mxnet.gluon\nimport mxnet",
    ],
)
def test_mxnet_is_importable_once_this_package_is(statement):
    """Whoever imports it, on any NumPy: it is the same module, and NumPy's own numbers pass as shapes."""
    code = f"""
import numpy as np
before = repr((np.int64(2),)), np.bool_(1)
{statement}
import gluon_bnn, numpy.ma, scipy.sparse
assert gluon_bnn.mx is mxnet
assert mxnet.nd.reshape(mxnet.nd.ones((2, 3)), shape=tuple(np.array([3, 2]))).shape == (3, 2)
assert mxnet.sym.sum(mxnet.sym.var("x"), axis=(np.int64(1),)).infer_shape(x=(2, 3))[1] == [(2,)]
assert repr((np.int64(2),)) == before[0], "the user's printing changed"
import scipy.stats, sys
assert "scipy.stats.distributions" not in sys.modules, "a quarter of the import's time"
assert "norm" in dir(scipy.stats) and scipy.stats.norm.cdf(0) == 0.5
assert isinstance("text", mxnet.symbol.symbol.str if hasattr(mxnet.symbol.symbol, "str") else str)
"""
    done = programs.run("-W", "ignore", "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_numpy_has_is_not_overwritten():
    from gluon_bnn import _shims

    before = {name: vars(np)[name] for name in vars(np)}
    _shims.add_missing_names(np)
    assert all(vars(np)[name] is value for name, value in before.items())
    assert np.alltrue([1, 1]) and not np.alltrue([1, 0]) and -np.inf == np.NINF and np.round_(1.5) == 2
