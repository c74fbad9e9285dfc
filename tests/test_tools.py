"""The compat layer, the command lines and the native library's absence, each as a user meets it."""

import functools
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


# How MXNet comes into a process, and what a user may have set of OpenMP there: each of the former, and each of the
# latter, once. Of OMP_NUM_THREADS, a list and what is no number end MXNet alone, from within its import.
IMPORTS = {
    "import gluon_bnn, mxnet": dict(OMP_NUM_THREADS="3"),
    "from gluon_bnn import mx as mxnet": dict(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="2,1"),
    "import gluon_bnn\nimport mxnet.gluon\nimport mxnet": dict(GOMP_SPINCOUNT="7", OMP_NUM_THREADS="abc"),
    "from gluon_bnn.native import library; library.available(); from gluon_bnn import mx as mxnet": {},
}
PROGRAM = """
import json, os, sys
import numpy as np
before, found = repr((np.int64(2),)), []
def look():
    found.append(list(map(os.environ.get, ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))))
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "mxnet.libinfo":
            look()
sys.meta_path.insert(0, Finder())
{statement}
look()
import gluon_bnn, numpy.ma, scipy.sparse
assert gluon_bnn.mx is mxnet
assert mxnet.nd.reshape(mxnet.nd.ones((2, 3)), shape=tuple(np.array([3, 2]))).shape == (3, 2)
assert mxnet.sym.sum(mxnet.sym.var("x"), axis=(np.int64(1),)).infer_shape(x=(2, 3))[1] == [(2,)]
assert repr((np.int64(2),)) == before, "the user's printing changed"
import scipy.stats
assert "scipy.stats.distributions" not in sys.modules, "a quarter of the import's time"
if {first}:
    assert "norm" in dir(scipy.stats) and scipy.stats.norm.cdf(0) == 0.5
assert isinstance("text", mxnet.symbol.symbol.str if hasattr(mxnet.symbol.symbol, "str") else str)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported():
    """function of a statement of IMPORTS: the ended process that began with it, which runs once."""
    nothing = dict.fromkeys(("OMP_NUM_THREADS", *_compat.WAITING))

    @functools.cache
    def run(statement):
        code = PROGRAM.format(statement=statement, first=statement == next(iter(IMPORTS)))
        environ = {**nothing, **IMPORTS[statement], "OMP_DISPLAY_ENV": "VERBOSE"}
        return programs.run("-W", "ignore", "-c", code, **environ)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("statement", IMPORTS)
def test_mxnet_is_importable_once_this_package_is(imported, statement):
    """Whoever imports it, on any NumPy: it is the same module, and NumPy's own numbers pass as shapes."""
    done = imported(statement)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, while_loading, afterwards",
    [
        (0, ["ACTIVE", "10000"], [None, None]),
        (1, ["PASSIVE", None], ["PASSIVE", None]),
        (2, [None, "7"], [None, "7"]),
        (3, ["ACTIVE", "10000"], [None, None]),
    ],
)
def test_threads_wait_as_the_user_says(imported, place, while_loading, afterwards):
    """What libgomp sees when MXNet loads it, and what is left of it afterwards."""
    found = json.loads(imported([*IMPORTS][place]).stdout)
    assert [of[1:] for of in found] == [while_loading, afterwards]


@pytest.mark.slow
@pytest.mark.parametrize("place, threads", [(0, 3), (1, 2), (2, None), (3, None)])
def test_threads_are_set_and_a_users_setting_wins(imported, place, threads):
    for of in json.loads(imported([*IMPORTS][place]).stdout):
        assert of[0] == str(threads or _compat.physical_cores())


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 3])
def test_threads_spin_whichever_loads_openmp(imported, place):
    said = imported([*IMPORTS][place]).stderr
    for name, value in _compat.WAITING.items():
        assert f"{name} = '{value}'" in said


def copy_of_package(tmp_path):
    """The package without its library and data, to be used from tmp_path."""
    shutil.copytree(PACKAGE, tmp_path / "gluon_bnn", ignore=shutil.ignore_patterns("*.so", "__pycache__", "_data"))
    return tmp_path / "gluon_bnn" / "native" / "libgluon_bnn.so"


# The library is looked for in a child of each process, after `gluon_bnn.mx`, which takes seconds to import.
USE = """
import os, sys, warnings
sys.path.insert(0, {path!r})
import gluon_bnn
mx = gluon_bnn.mx
def use():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            net = gluon_bnn.nn.BinaryDense(3, in_units=2)
    net.initialize()
    assert gluon_bnn.check_net(net, mx.nd.ones((5, 2))).ok
    print([str(w.message) for w in seen if "binary layers run" in str(w.message)])
    os.environ["GLUON_BNN_OPS"] = "native"
    try:
        gluon_bnn.nn.BinaryDense(3)
    except OSError as error:
        print(error, flush=True)
for content in {contents!r}:
    if content is not None:
        with open({target!r}, "wb") as file:
            file.write(content)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            use()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_without_a_usable_library(tmp_path):
    target, contents = copy_of_package(tmp_path), {"was not built": None}
    if library.path() is not None:
        with open(library.path(), "rb") as file:
            contents["is cut off"] = file.read(3000)
    code = USE.format(path=str(tmp_path), target=str(target), contents=[*contents.values()])
    said = iter(programs.output("-c", code, cwd=str(tmp_path)).splitlines())
    for word, warned, refused in zip(contents, said, said, strict=True):
        assert warned.count("binary layers run on MXNet's own operators") == 1, "warned once"
        assert word in refused and "install gluon_bnn again" in refused


def test_the_launcher_takes_a_dash_and_names_what_it_cannot_start():
    assert programs.run("-m", "gluon_bnn.launch", "-n", "1", "--", "true").returncode == 0
    done = programs.run("-m", "gluon_bnn.launch", "-n", "1", "no-such-program")
    assert done.returncode == 1
    assert done.stderr == "cannot start 'no-such-program': No such file or directory\n"


@pytest.mark.slow
def test_what_numpy_has_is_not_overwritten():
    from gluon_bnn import _shims

    before = {name: vars(np)[name] for name in vars(np)}
    _shims.add_missing_names(np)
    assert all(vars(np)[name] is value for name, value in before.items())
    assert np.alltrue([1, 1]) and not np.alltrue([1, 0]) and -np.inf == np.NINF and np.round_(1.5) == 2
