"""Training in several processes: equal to training in one, refused where it cannot work, resumed to the bit.

Each job is a scheduler, a server and two workers, that is four times `import mxnet`; so few jobs, many checks.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gluon_bnn import launch
from gluon_bnn._compat import mx
from gluon_bnn.train.workers import Workers, check_environment

import distributed_worker
import programs
import saved_runs
from cluster import Job

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "distributed_worker.py")
SEED = 7
# Only so do servers add float64 in float64, see Workers._check_float64.
CLEARED = {"GLIBC_TUNABLES": "glibc.malloc.perturb=255:glibc.malloc.tcache_count=0"}
TIMEOUT = 240  # seconds; a job takes about 10 where nothing else runs
ENVIRONMENT = {
    "DMLC_ROLE": "worker",
    "DMLC_PS_ROOT_URI": "127.0.0.1",
    "DMLC_PS_ROOT_PORT": "9091",
    "DMLC_NUM_WORKER": "2",
    "DMLC_NUM_SERVER": "1",
}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """What the two workers of distributed_worker.py found, and their parameters."""
    directory = tmp_path_factory.mktemp("job")
    with Job([sys.executable, WORKER, str(directory), str(SEED)], server_environ=CLEARED) as job:
        deadline = time.monotonic() + TIMEOUT
        while all(process.poll() is None for process in job.workers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        # The last thing that is checked: a worker that fails alone ends, while all others wait.
        assert [p.poll() for _, p in job.processes if p.poll() is not None] == [1], job.output()
        assert "ValueError: out of luck" in job.output()
        (waiting,) = (process for process in job.workers() if process.poll() is None)
        waiting.send_signal(signal.SIGINT)
        job.wait(TIMEOUT, [waiting])
        assert waiting.returncode == -signal.SIGINT, job.output()
    found = [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]
    values = [list(np.load(directory / f"{rank}.npz").values()) for rank in range(2)]
    return found, values


@pytest.mark.slow
def test_two_workers_are_one_at_the_double_batch(job):
    found, values = job
    net, trainer = distributed_worker.make(SEED, None)
    alone = distributed_worker.fit(net, trainer, SEED)
    assert alone["best_epoch"] == distributed_worker.EPOCHS - 1  # so these are the parameters at the end
    for parameter, ours, theirs in zip(net.collect_params().values(), *values):
        np.testing.assert_array_equal(ours, theirs)
        # 9.8e-12 seen over 13 seeds: where a gradient is tiny, Adam divides it by its own size.
        np.testing.assert_allclose(ours, parameter.data().asnumpy(), rtol=0, atol=1e-10)
    for history in (found[0]["history"], found[1]["history"]):
        np.testing.assert_allclose(history["loss"], alone["loss"], rtol=1e-12)  # 2e-13 seen
        assert history["error"] == alone["error"]
        assert history["validation_error"] == alone["validation_error"]


@pytest.mark.slow
def test_workers_that_are_not_alike_are_refused(job):
    for found in job[0]:
        assert "worker 1 differs in weights" in found["other_seed"] and "same options and seed" in found["other_seed"]
        assert "worker 1 differs in options" in found["other_data_order"]


@pytest.mark.slow
def test_an_error_in_one_worker_is_one_in_all(job):
    first, second = job[0]
    assert second["one_fails"] == "OSError: the disk is full"
    assert first["one_fails"].startswith("ConnectionError: worker 1 failed") and "disk is full" in first["one_fails"]


@pytest.mark.slow
def test_what_workers_tell_each_other_is_exact(job):
    for found in job[0]:
        assert found["gathered"] == [[0, 0.1], [1, 1.1]]
        np.testing.assert_array_equal(found["average"], np.float64([0 + 1, 0.1 + (0.1 + 1)]) / 2)


@pytest.mark.slow
def test_a_batch_must_have_equal_parts(job):
    for found in job[0]:
        assert "rows of a batch must be divisible by the number of workers, 2; got 15" in found["odd_batch"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("DMLC_NUM_WORKER", None),
        ("DMLC_PS_ROOT_URI", ""),
        ("DMLC_ROLE", "server"),
        ("DMLC_ROLE", None),
        ("DMLC_PS_ROOT_PORT", "65536"),
        ("DMLC_NUM_SERVER", "0"),
        ("DMLC_NUM_SERVER", "two"),
    ],
)
def test_the_environment_is_checked(name, value):
    check_environment(ENVIRONMENT)
    environ = {k: v for k, v in {**ENVIRONMENT, name: value}.items() if v is not None}
    with pytest.raises(ValueError, match=f"variables: {name} must be .*, got {value or 'nothing'}. python -m"):
        check_environment(environ)


def test_the_script_says_what_is_missing(tmp_path, monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    done = programs.script_here("train_mnist.py", "--kvstore", "dist_sync", cwd=tmp_path)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    for name in ENVIRONMENT:
        assert f"{name} must be" in done.stderr


@pytest.mark.parametrize(
    "kvstore, update, message",
    [
        ("dist_async", False, "dist_sync, got dist_async"),
        ("dist_sync", None, "update_on_kvstore=False"),
        ("dist_sync", False, "DMLC_ROLE must be worker"),
    ],
)
def test_trainers_that_cannot_work(kvstore, update, message, monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    net = mx.gluon.nn.Dense(2, in_units=2)
    net.initialize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", kvstore=kvstore, update_on_kvstore=update)
    with pytest.raises(ValueError, match=message):
        Workers(trainer)


class Rounding:
    """A kvstore of one worker whose servers keep numbers in float32."""

    def init(self, key, value):
        pass

    def pushpull(self, key, value):
        value[:] = value.astype("float32").astype("float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_servers_that_round_are_refused_for_float64(dtype):
    net = mx.gluon.nn.Dense(2, in_units=2, dtype=dtype)
    net.initialize()
    workers = Workers(mx.gluon.Trainer(net.collect_params(), "sgd", kvstore=None))
    workers._kvstore, workers._key = Rounding(), 2
    if dtype == "float32":
        workers._check_float64()
    else:
        with pytest.raises(ValueError, match="float64 in float32 .*GLIBC_TUNABLES"):
            workers._check_float64()


@pytest.mark.slow
def test_the_script_in_two_workers(tmp_path):
    """It learns, and resumed from what was saved on the way, it ends the same."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for directory in (whole, cut / "run"):
        directory.mkdir(parents=True)
    script = [sys.executable, saved_runs.SCRIPT, "--epochs", "6", "--batch-size", "100", "--kvstore", "dist_sync"]
    script += ["--save-dir", "run"]
    with Job(script, cwd=whole) as job:
        deadline = time.monotonic() + TIMEOUT
        while (saved_runs.epochs_done(whole / "run") or 0) < 2:
            assert time.monotonic() < deadline, job.output()
            time.sleep(0.01)
        shutil.copy(whole / "run" / saved_runs.NAME, cut / "run")
        job.wait(TIMEOUT)
        assert all(process.returncode == 0 for _, process in job.processes), job.output()
    found = saved_runs.record(whole / "run")
    assert found["test_error"] < 0.25, found  # 9% seen; chance is 90%
    assert found["settings"]["workers"] == 2 and len(found["curve"]["loss"]) == 6

    assert 2 <= saved_runs.epochs_done(cut / "run") < 6
    programs.output("-m", "gluon_bnn.launch", "-n", "2", *script, "--resume", cwd=cut)
    saved_runs.assert_equal(whole / "run", cut / "run")


def test_the_launcher_ends_all_when_one_fails(tmp_path):
    command = "echo $$ > $DMLC_ROLE.pid; test $DMLC_ROLE != worker && exec sleep 1000; exit 3"
    begun = list(launch.start(["sh", "-c", command], 1, cwd=tmp_path))
    try:
        assert [process.wait(TIMEOUT) for role, process in begun if role == "worker"] == [3]
        assert all(process.poll() is None for role, process in begun if role != "worker")
    finally:
        launch.kill(begun)
    impatient = "from gluon_bnn import launch; launch.GRACE = 0.2; launch.main()"
    done = subprocess.run(
        [sys.executable, "-c", impatient, "-n", "2", "sh", "-c", command], cwd=tmp_path, timeout=TIMEOUT
    )
    assert done.returncode == 3
    for role in ("scheduler", "server"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"{role}.pid").read_text()), 0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_launcher_ends_all_when_it_is_ended(tmp_path, ending):
    process = subprocess.Popen(
        [sys.executable, "-m", "gluon_bnn.launch", "-n", "1", "sh", "-c", "echo $$ > $DMLC_ROLE.pid; exec sleep 1000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "worker.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(ending)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + ending
    assert said == ("launch: interrupted, all processes have ended\n" if ending == signal.SIGINT else "")
    for path in tmp_path.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


@pytest.mark.parametrize("arguments", [["-n", "0", "true"], ["-n", "2"], ["-n", "1", "-s", "0", "true"]])
def test_the_launcher_needs_processes_and_a_command(arguments):
    with pytest.raises(SystemExit):
        launch.main(arguments)
