"""The fuzzer on some of its files, and on a loader that breaks."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import fuzz_runtime


@pytest.mark.slow
def test_fuzz(tmp_path):
    """1,000 mutated files: each loads and runs, or is refused with an error that names it."""
    found = fuzz_runtime.fuzz(1000, seed=2, save_dir=tmp_path, progress=False)
    assert not found["bad"], found["bad"]
    assert sum(found["outcomes"].values()) == 1000 and not os.listdir(tmp_path)
    assert found["outcomes"][fuzz_runtime.RAN] > 20 and found["outcomes"]["ValueError"] > 500
    reached = " ".join(found["refused_by"])
    for function in (
        "_read:",
        "_read_header:",
        "_begin:",
        "_read_line:",
        "_read_description:",
        "_labels:",
        "_node:",
        "nodes:",
        "check_signs:",
        "_value:",
        "_check_sources:",
        "_check_attributes:",
        "_check_arrays:",
        "_check_array:",
        "value:",
        "floats:",
        "together:",
    ):
        assert function in reached, f"no file was refused by {function[:-1]}: {found['refused_by']}"


def broken_worker(pipe, seed, indices, path):
    """Stands for a loader that crashes on file 2, hangs on 4 and raises something else on 5."""
    for index in indices:
        if index == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if index == 4:
            time.sleep(1000)
        pipe.send((index, "cut", "KeyError: 'x'" if index == 5 else "ValueError", ""))
    pipe.close()


@pytest.mark.slow
def test_fuzz_sees_crashes_and_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_runtime, "_work", broken_worker)
    monkeypatch.setattr(fuzz_runtime, "TIMEOUT", 6)  # a worker has to start in it, too
    found = fuzz_runtime.fuzz(8, seed=1, save_dir=tmp_path, progress=False)
    assert found["outcomes"]["ValueError"] == 5
    assert [(bad["index"], bad["outcome"]) for bad in found["bad"]] == [
        (2, "crash: exit status -11"),
        (4, "hang: nothing for 6 s"),
        (5, "KeyError: 'x'"),
    ]
    assert sorted(os.listdir(tmp_path)) == ["2.safetensors", "4.safetensors", "5.safetensors"]
    assert (tmp_path / "2.safetensors").read_bytes() == fuzz_runtime.mutated(fuzz_runtime.seeds(), 1, 2)[1]


@pytest.mark.slow
def test_fuzz_script(tmp_path):
    done = subprocess.run(
        [sys.executable, fuzz_runtime.__file__, "--count", "40", "--seed", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "runs" / "fuzz_runtime" / "fuzz_runtime.json", encoding="utf-8") as file:
        record = json.load(file)
    assert record["count"] == 40 and record["seed"] == 3 and sum(record["outcomes"].values()) == 40
    assert not record["bad"] and record["seconds"] > 0
