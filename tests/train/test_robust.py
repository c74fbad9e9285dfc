"""Runs that are killed, interrupted or out of room: what was saved is whole, and a resumed run ends the same.

GLUON_BNN_KILLS (2) says how often each run below is killed, GLUON_BNN_KILLS_SEED (0) when. A longer check, with
the moments printed:

    GLUON_BNN_KILLS=20 pytest -s tests/train/test_robust.py -k killed
"""

import contextlib
import errno
import itertools
import os
import resource
import signal
import time

import numpy as np
import pytest

from gluon_bnn import _files, _interrupt, train

import programs
import saved_runs
from tiny_runs import LABELS, X, fit, make

KILLS = int(os.environ.get("GLUON_BNN_KILLS", 2))
SEED = int(os.environ.get("GLUON_BNN_KILLS_SEED", 0))
EPOCHS = 4 + 5 * KILLS  # more than pass from one kill to the next
PATIENCE = 120  # seconds for one step of a test; it takes a few where nothing else runs
MOMENTS = "epoch", "write", "start", "interrupt", "write"  # of a kill, see `kill`; the last one is always "end"
RUNS = {
    "adam": ["--activation", "binary", "--dropout", "0.1", "0.1"],
    "binaryadam": [
        "--weights",
        "stochastic",
        "--scale",
        "none",
        "--optimizer",
        "binaryadam",
        "--glorot",
        "--loss",
        "hinge",
        "--dropout",
        "0.1",
        "0.1",
        "--lr-steps",
        "3",
        "9",
    ],
}


def start(directory, options):
    """The script as a process; it goes on wherever the one before it was."""
    directory.mkdir(exist_ok=True)
    resume = ["--resume"] if (directory / "run" / saved_runs.NAME).exists() else []
    return programs.Fork(
        "train_mnist.py", "--epochs", str(EPOCHS), *options, *resume, "--save-dir", "run", cwd=directory
    )


def finish(process):
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors


def wait_for(process, condition, pause=0.02):
    """Until the condition holds; an AssertionError where the process ends before, or nothing happens."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate(PATIENCE)[1]
        assert time.monotonic() < deadline
        time.sleep(pause)


def kill(process, moment, run, generator):
    """Kill the process at the given moment of its run, at random within it."""
    if moment == "start":
        time.sleep(generator.uniform(0.1, 2))
    else:
        more = {"write": generator.integers(3), "end": EPOCHS}.get(moment, generator.integers(1, 3))
        epochs = min(EPOCHS, (saved_runs.epochs_done(run) or 0) + more)
        wait_for(process, lambda: (saved_runs.epochs_done(run) or 0) >= epochs)
    if moment == "write":
        while True:
            wait_for(process, lambda: unfinished(run), pause=0)
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            if unfinished(run):
                break
            process.send_signal(signal.SIGCONT)
    elif moment in ("epoch", "interrupt"):
        time.sleep(generator.uniform(0, 0.1))
    process.send_signal(signal.SIGINT if moment == "interrupt" else signal.SIGKILL)
    errors = process.communicate(timeout=PATIENCE)[1]
    if moment == "interrupt":
        assert process.returncode > 0 and "--resume" in errors and "Traceback" not in errors
    else:
        assert process.returncode == -signal.SIGKILL, errors


class Dying:
    """Gets a Ctrl-C while it is freed, as it may come while MXNet frees an array."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # Python looks for signals between its own instructions
            pass


def test_ctrl_c_is_not_lost(tmp_path):
    path = tmp_path / "c.safetensors"

    def validate(net):
        Dying()
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        fit(*make(), checkpoint=str(path), validate=validate)
    assert saved_runs.epochs_done(tmp_path, path.name) == 1  # the epoch that it fell in was whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt):
        with _interrupt.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            untrained()


def unfinished(run):
    return [
        name for name in (os.listdir(run) if run.exists() else []) if name.startswith("checkpoint.safetensors.part-")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name, first", [*zip(RUNS, (0, 3))])
def test_killed_and_resumed_runs_end_the_same(tmp_path, name, first):
    generator = np.random.default_rng([SEED, *name.encode()])
    whole = start(tmp_path / "whole", RUNS[name])
    cut, run = tmp_path / "cut", tmp_path / "cut" / "run"
    moments = [*itertools.islice(itertools.cycle(MOMENTS), first, first + KILLS - 1), "end"]
    try:
        for moment in moments:
            before = saved_runs.epochs_done(run)
            process = start(cut, RUNS[name])
            kill(process, moment, run, generator)
            done = saved_runs.epochs_done(run)
            print(
                f"seed {SEED}, {moment}: {before} epochs before, {done} of {EPOCHS} after, "
                f"unfinished: {unfinished(run)}"
            )
            if moment == "write":
                assert len(unfinished(run)) == 1  # those of earlier kills are gone
            assert not (run / "record.json").exists()
        assert done == EPOCHS
        process = start(cut, RUNS[name])
        finish(process)
        finish(whole)
    finally:
        whole.kill()
        process.kill()
    saved_runs.assert_equal(tmp_path / "whole" / "run", run)


def test_what_a_killed_write_left_is_removed(tmp_path):
    path = tmp_path / "c[1].safetensors"
    for name in ("c[1].safetensors.part-0123abcd", "c[1].safetensors.part-mine", "c1.safetensors.part-0123abcd"):
        (tmp_path / name).write_bytes(b"half")
    fit(*make(), epochs=1, checkpoint=str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "c1.safetensors.part-0123abcd",
        "c[1].safetensors",
        "c[1].safetensors.part-mine",
    ]


@contextlib.contextmanager
def small_files():
    """A limit of 1000 bytes per file: less than a checkpoint. Not a fixture: pytest's own output may go to a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def untrained(*arguments):
    raise AssertionError("trained before it could write")


def test_too_little_room_shows_before_training(tmp_path):
    with small_files(), pytest.raises(OSError, match="MB cannot be written; there must be room") as raised:
        fit(*make(), checkpoint=str(tmp_path / "c.safetensors"), loss=untrained)
    assert raised.value.errno == errno.EFBIG and not list(tmp_path.iterdir())


def test_room_for_one_checkpoint_only_shows_before_training(tmp_path, monkeypatch):
    path, write = tmp_path / "c.safetensors", _files.replace

    def replace(name, content):
        if path.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(name, content)

    monkeypatch.setattr(_files, "replace", replace)
    with pytest.raises(OSError, match="room for the old one and the new"):
        fit(*make(), checkpoint=str(path), loss=untrained)
    monkeypatch.undo()
    net, trainer = make()
    fit(net, trainer, checkpoint=str(path), resume=True)  # what was written is whole


def test_a_run_that_finds_no_room_when_resumed_keeps_its_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(KeyboardInterrupt):

        def interrupt(net):
            raise KeyboardInterrupt

        fit(*make(), validate=interrupt, checkpoint=str(path))
    before = path.read_bytes()
    with small_files(), pytest.raises(OSError, match="the last one is as it was"):
        fit(*make(), checkpoint=str(path), resume=True, loss=untrained)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_finished_run_writes_no_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    done = fit(*make(), checkpoint=str(path))
    with small_files():
        assert fit(*make(seed=9), checkpoint=str(path), resume=True) == done


def test_validation_data_is_not_needed_to_resume_a_finished_run(tmp_path):
    path = str(tmp_path / "c.safetensors")
    net, trainer = make()
    fit(net, trainer, checkpoint=path)
    other, trainer = make(seed=9)
    fit(other, trainer, checkpoint=path, resume=True, validate=untrained, loss=untrained)
    assert train.evaluate(other, X, LABELS) == train.evaluate(net, X, LABELS)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """train_mnist.main in this process and in tmp_path: what it says where it refuses to start, else None."""
    monkeypatch.syspath_prepend(os.path.dirname(saved_runs.SCRIPT))
    monkeypatch.chdir(tmp_path)
    import train_mnist

    def main(*options):
        try:
            train_mnist.main(["--epochs", "2", "--hidden", "9", "--batch-size", "400", *options])
        except SystemExit as end:
            return end.code

    main.module = train_mnist
    return main


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.slow
def test_a_second_run_in_one_directory_changes_nothing(tmp_path, script):
    first, run = start(tmp_path, ["--hidden", "500", "--epochs", "1000"]), tmp_path / "run"
    try:
        wait_for(first, lambda: saved_runs.epochs_done(run))
        first.send_signal(signal.SIGSTOP)
        before = content(run)
        for options in ([], ["--resume"], ["--overwrite"], ["--seed", "1"]):
            message = script("--save-dir", "run", *options)
            assert f"process {first.pid} " in message and str(run) in message and "--save-dir" in message
        assert content(run) == before
        first.send_signal(signal.SIGCONT)
        done = saved_runs.epochs_done(run)
        wait_for(first, lambda: saved_runs.epochs_done(run) > done)
    finally:
        first.kill()
        first.communicate(PATIENCE)


@pytest.mark.slow
def test_an_unfinished_run_is_kept(tmp_path, script, monkeypatch):
    run = tmp_path / "run"

    def killed(*_):
        raise SystemExit("killed")

    with monkeypatch.context() as patch:  # the net is trained, its results are not written yet
        patch.setattr(script.module, "results_of", killed)
        assert script("--save-dir", "run") == "killed"
    before = content(run)
    for options in ([], ["--seed", "1"]):
        message = script("--save-dir", "run", *options)
        assert message.startswith("train_mnist.py: run: has a run that is not finished; ")
        assert "--resume" in message and "--overwrite" in message
    assert content(run) == before
    assert script("--save-dir", "run", "--resume") is None
    record = saved_runs.record(run)
    assert script("--save-dir", "run") is None  # a finished one may be run again
    assert saved_runs.record(run) == record

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # not even the net is trained, and there is an older record
        patch.setattr(train, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            script("--save-dir", "run", "--seed", "1")
    assert "not finished" in script("--save-dir", "run", "--seed", "1")
    assert script("--save-dir", "run", "--overwrite", "--seed", "2") is None
    assert saved_runs.record(run)["seed"] == 2


def test_resume_of_nothing(tmp_path, script):
    message = script("--save-dir", "mistyped", "--resume")
    assert "mistyped" in message and "--save-dir" in message and os.listdir(tmp_path) == []
    assert script("--resume", "--overwrite") == 2


def test_default_directories_differ(script):
    def directory(*options):
        return script.module.parse_args(list(options)).save_dir

    found = [
        directory(*options)
        for options in (
            [],
            ["--seed", "1"],
            ["--epochs", "5"],
            ["--hidden", "30"],
            ["--activation", "binary"],
            ["--scale", "none"],
            ["--activation", "binary", "--seed", "1"],
            ["--kvstore", "dist_sync"],
            ["--dataset", "mnist"],
            ["--dataset", "a/b"],
            ["--dataset", "c/b"],
            ["--dataset", "mnist", "--seed", "1"],
        )
    ]
    assert len(set(found)) == len(found)
    assert found[0] == os.path.join("runs", "digits-relu")
    assert directory("--resume", "--data-dir", "x", "--lr", "0.01") == found[0]
    assert directory("--overwrite", "--seed", "1") == found[1]


def test_advice_is_in_the_scripts_own_options(tmp_path, script, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    message = script("--save-dir", "file")
    assert "--save-dir file" in message and "Not a directory" in message
    assert "try a smaller --lr" in script("--save-dir", "run", "--lr", "1e30")
