"""Children of fork, and of what else starts a process: kernels never hang, and use the threads that they can."""

import os
import subprocess
import sys
import textwrap

import pytest

from needs import needs_library

pytestmark = [needs_library, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]

# in_child(work) returns when a child has run work(), or fails. A child that hangs is ended by its alarm.
START = """
import os, signal, sys, threading
import numpy as np

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, "hung" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else status
"""

# Kernels on enough work for two threads.
KERNELS = """
from gluon_bnn.native import bindings, library

def run():
    x, w = np.ones((64, 2048), np.float32), bindings.pack_weights(np.ones((2048, 2048), np.float32))
    one = np.ones(2048, np.float32)
    assert (bindings.xnor_dense(bindings.pack_inputs(x), w, one, one, 2048) == 2049).all()
    assert (bindings.binary_dense(x, w, one, one) == 2049).all()

def threads():
    return len(os.listdir("/proc/self/task"))
"""

# MXNet's own loops, on OpenMP's threads in the main thread.
MXNET = """
from gluon_bnn._compat import mx

def use_openmp():
    mx.nd.ones((2000, 2000)).asnumpy()
"""

TRAINING = """
import gluon_bnn

def make_step(**hybridize):
    nn = gluon_bnn.nn
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryDense(512, in_units=784), nn.BatchNorm(in_channels=512), nn.BinaryActivation(),
            nn.BinaryDense(10, in_units=512))
    net.initialize()
    if hybridize:
        net.hybridize(**hybridize)
    trainer = mx.gluon.Trainer(net.collect_params(), gluon_bnn.optimizer.BinaryAdam(learning_rate=0.01), kvstore=None)
    loss = gluon_bnn.loss.SquaredHingeLoss()
    x, y = mx.nd.random.uniform(shape=(256, 784)), mx.nd.zeros((256,))

    def step():
        with mx.autograd.record():
            value = loss(net(x), y)
        value.backward()
        trainer.step(256)
        assert np.isfinite(value.asnumpy()).all() and net(x).asnumpy().shape == (256, 10)
    return step
"""


def run(*parts, **environment):
    code = "\n".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run(
        [sys.executable, "-c", code],
        timeout=300,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_after_the_kernels_were_used():
    run(
        START,
        KERNELS,
        """
        run()
        in_child(run)
        in_child(lambda: in_child(run))
        thread = threading.Thread(target=in_child, args=(run,))
        thread.start()
        thread.join()
        run()
        """,
    )


@pytest.mark.slow
def test_after_others_used_openmp():
    """The library was loaded, but none of its functions called; and it is loaded in the child."""
    run(
        START,
        MXNET,
        KERNELS,
        """
        use_openmp()
        in_child(run)
        library.load_operators()
        in_child(run)
        in_child(lambda: in_child(run))
        """,
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ThreadedEnginePerDevice", "NaiveEngine"])
def test_training_goes_on(engine):
    """NaiveEngine runs operators, MXNet's too, in the thread that forks."""
    run(
        START,
        MXNET,
        TRAINING,
        """
        eager, hybrid = make_step(), make_step(static_alloc=True, static_shape=True)
        eager(), hybrid(), use_openmp()
        in_child(lambda: (eager(), hybrid(), make_step()(), use_openmp()))
        eager(), hybrid()
        """,
        MXNET_ENGINE_TYPE=engine,
    )


@pytest.mark.slow
def test_workers_of_a_data_loader():
    run(
        MXNET,
        """
        import numpy as np
        import gluon_bnn
        net = mx.gluon.nn.HybridSequential()
        net.add(gluon_bnn.nn.BinaryDense(700, in_units=784))
        net.initialize()
        frozen = gluon_bnn.freeze(net, verbose=False)
        model = gluon_bnn.runtime.Model(frozen.graph)
        x = np.random.default_rng(0).standard_normal((40, 784)).astype(np.float32)
        expected = model(x)
        use_openmp()
        class Outputs(mx.gluon.data.Dataset):
            def __len__(self):
                return 40
            def __getitem__(self, i):
                many = np.repeat(x[i:i + 1], 64, axis=0)
                assert (frozen(mx.nd.array(many)).asnumpy() == model(many)).all()
                return net(mx.nd.array(many)).asnumpy()[0], model(many)[0]
        found = [[part.asnumpy() for part in batch]
                 for batch in mx.gluon.data.DataLoader(Outputs(), 10, num_workers=2, timeout=100)]
        assert len(found) == 4
        for i, (trained, packed) in enumerate(found):
            assert (packed == expected[10 * i:10 * i + 10]).all() and np.allclose(trained, packed, atol=1e-3)
        """,
    )


@pytest.mark.slow
def test_how_a_data_loader_starts_its_workers():
    """By fork, as on Python 3.14 and later, which would not by themselves; by spawn for who chooses that."""
    run(
        MXNET,
        """
        import multiprocessing, sys
        from gluon_bnn import _shims
        real, sys.version_info = sys.version_info, (3, 14)
        _shims.fork_workers()
        sys.version_info = real
        for chosen, method in ("forkserver", "fork"), ("spawn", "spawn"):
            multiprocessing.set_start_method(chosen, force=True)
            with mx.gluon.data.dataloader.multiprocessing.Pool(1) as pool:
                assert pool._ctx.get_start_method() == method
        """,
    )


def test_multiprocessing():
    run(
        START,
        KERNELS,
        """
        import multiprocessing
        run()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.starmap_async(run, [()] * 4).get(100)
        """,
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux's list of a process's threads")
def test_the_parent_keeps_its_threads():
    run(
        START,
        KERNELS,
        """
        assert threads() == 1
        in_child(run)
        def alone():
            run()
            assert threads() == 1
        in_child(alone)
        run()
        assert threads() == 2
        """,
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux's list of a process's threads")
def test_programs_that_are_started():
    program = START + KERNELS + "run()\nassert threads() == 2\n"
    run(
        START,
        KERNELS,
        f"""
        import subprocess
        run()
        start = lambda: subprocess.run([sys.executable, "-c", {program!r}], check=True)
        start()
        in_child(start)
        """,
    )


def test_a_fork_while_another_thread_loads_the_library():
    run(
        START,
        KERNELS,
        """
        held = threading.Event()
        def load():
            with library._lock:
                held.set()
                threading.Event().wait(0.5)
        thread = threading.Thread(target=load)
        thread.start()
        held.wait()
        in_child(run)
        thread.join()
        """,
    )
