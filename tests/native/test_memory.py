"""What kernels ask of a thread's stack, and what a process keeps of the memory that it freed."""

import ctypes
import os
import types

import pytest

from gluon_bnn import _compat

import programs
from needs import needs_library
from paths import HELPERS

SMALL_STACK = """
import sys
import threading
import numpy as np
from gluon_bnn.native import library
from gluon_bnn import runtime
from random_nets import awkward_nets, odd_floats, same

rng = np.random.default_rng(32)
threading.stack_size((32 if sys.version_info < (3, 14) else 52) << 10)  # the least that Python takes
for name in library.instruction_sets():
    with library.use(name):
        for graph in awkward_nets(rng):
            model, results = runtime.Model(graph), []
            x = odd_floats(rng, 70, graph.inputs)
            pixels = rng.integers(0, 256, x.shape, np.uint8) if graph.input_scale is not None else x
            def work():
                results.extend(model(rows) for rows in (x, pixels, x[0], pixels[0]))
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert all(map(same, results, map(model, (x, pixels, x[0], pixels[0])))) and len(results) == 4
"""


@pytest.mark.slow
@needs_library
def test_threads_with_small_stacks():
    """32 KB, the least that Python allows, in threads of Python and in OpenMP's."""
    programs.output("-c", SMALL_STACK, cwd=HELPERS, OMP_NUM_THREADS="2", OMP_STACKSIZE="32k")


LARGE_BATCH = """
import gc, os, sys
import gluon_bnn
from gluon_bnn._compat import mx

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20

net = mx.gluon.nn.HybridSequential()
net.add(gluon_bnn.nn.BinaryDense(64, in_units=784), gluon_bnn.nn.BinaryDense(10, in_units=64))
net.initialize()
forms = [gluon_bnn.freeze(net, form=form, verbose=False) for form in ("packed", "float")]
for frozen in forms:
    frozen(mx.nd.ones((1, 784))).asnumpy()
before = megabytes()
for frozen in forms:
    x = mx.nd.ones((60000, 784))
    frozen(x).asnumpy()
    assert megabytes() > before + 150
    del x
    gc.collect()
    mx.nd.waitall()
    print(megabytes() - before)
"""


def malloc_can_be_told():
    return os.path.isfile("/proc/self/statm") and hasattr(ctypes.CDLL(None), "mallopt")


@pytest.mark.slow
@pytest.mark.skipif(not malloc_can_be_told(), reason="needs glibc's malloc")
def test_memory_of_a_large_batch_goes_back():
    ours = dict.fromkeys(name for name in os.environ if name.startswith("MALLOC_"))
    kept = programs.output("-c", LARGE_BATCH, **ours).split()
    assert len(kept) == 2 and all(int(megabytes) < 100 for megabytes in kept)


@pytest.mark.parametrize(
    "set_by_user, told",
    [
        ({}, 2),
        ({"MALLOC_ARENA_MAX": "8"}, 0),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=128"}, 0),
        ({"GLIBC_TUNABLES": "glibc.rtld.nns=4"}, 2),
    ],
)
def test_users_own_settings_of_malloc_win(monkeypatch, set_by_user, told):
    calls = []
    monkeypatch.setattr(_compat.os, "environ", set_by_user)
    monkeypatch.setattr(_compat.ctypes, "CDLL", lambda _: types.SimpleNamespace(mallopt=lambda *a: calls.append(a)))
    _compat._keep_freed_memory()
    assert len(calls) == told
