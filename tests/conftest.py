"""Fixtures for all tests: a seeded generator, both implementations of the operators, every instruction set."""

import logging
import os
import shutil
import signal
import sys

# Tests are thousands of tiny operators, for which a second thread costs more than it does, and as many tests run at
# once as there are cores. So there is one thread, in the programs that tests start too, and threads that wait take no
# core from others. Tests of threads set how many there are: test_threads.py, run.sh and those of memory and fork in
# tests/native, and test_any_number_of_threads of convolutions. Read by NumPy's BLAS, and by OpenMP, when they are
# loaded below.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import numpy as np
import pytest

from gluon_bnn import ops
from gluon_bnn.native import library

from pairs import IMPLEMENTATIONS, INSTRUCTION_SETS
from paths import HELPERS

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job, whose children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run. An example is as long as MXNet takes, and may use the fixtures of its test.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")


CHILDREN = os.path.join(HELPERS, "children")  # has the sitecustomize.py of processes that tests start
collect_ignore = [CHILDREN]  # or pytest would import it, to look for doctests

FAST_CASES = 5  # of a test with parameters; the others are slow, so that the fast tests stay fast as cases are added


@pytest.hookimpl(tryfirst=True)  # before pytest reads -m
def pytest_collection_modifyitems(config, items):
    """Each of pytest-xdist's workers begins with its share of the tests that are slow by themselves: those that it has
    left at the end, and that others take from it, are short."""
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    cases = {}
    for item in fast:
        cases.setdefault((item.parent, getattr(item, "originalname", item.name)), []).append(item)
    for of_one_test in cases.values():
        sample = range(0, len(of_one_test), -(-len(of_one_test) // FAST_CASES))
        for place, item in enumerate(of_one_test):
            if place not in sample:
                item.add_marker("slow")
    items[:] = [
        item
        for worker in range(workers)
        for tests in (slow, fast)
        for item in tests[len(tests) * worker // workers : len(tests) * (worker + 1) // workers]
    ]


@pytest.fixture(scope="session", autouse=True)
def children():
    """MXNet's import takes half the time in the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", CHILDREN, prepend=os.pathsep)
        patch.syspath_prepend(CHILDREN)  # for those that get the whole path of this process
        yield


def _seed(request):
    """A number of the test's own, so that a failure can be run again, by itself too."""
    return sum(map(ord, request.node.name))


@pytest.fixture(autouse=True)
def global_generators(request):
    """NumPy's and MXNet's, from which first weights are drawn."""
    np.random.seed(_seed(request))
    if "mxnet" in sys.modules:
        sys.modules["mxnet"].random.seed(_seed(request))


@pytest.fixture
def rng(request):
    """A generator, whose seed is logged."""
    logging.getLogger(__name__).warning("seed %d", _seed(request))
    return np.random.default_rng(_seed(request))


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request):
    """Layers made in the test use this implementation of the operators."""
    if request.param == "native" and not library.available():
        pytest.skip(library.problem())
    with ops.use(request.param):
        yield request.param


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request):
    """The kernels and operators of the test use this instruction set, one that the machine has."""
    if not library.available():
        pytest.skip(library.problem())
    library.load_operators()
    with library.use(request.param):
        yield request.param


@pytest.fixture
def emulated_arm():
    """Skips the test where 64-bit ARM can be neither compiled for nor emulated."""
    if not shutil.which("aarch64-linux-gnu-g++") or not shutil.which("qemu-aarch64"):
        pytest.skip("needs g++-aarch64-linux-gnu and qemu-user: apt-get install g++-aarch64-linux-gnu qemu-user")
