"""Ctrl-C in the experiment scripts: one line, exit status 130, and no process left, whatever they are doing."""

import contextlib
import glob
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

import programs
from needs import needs_library
from paths import EXPERIMENTS, ROOT, script_of

SCRIPTS = [
    "bench_inference.py",
    "bench_training.py",
    "deploy.py",
    "draw_rules.py",
    "execute_tutorial.py",
    "fuzz_runtime.py",
    "notebook_bnn.py",
    "notebook_nn.py",
    "reproduce.py",
    "results_table.py",
    "train_mnist.py",
]
PATIENCE = 300


def start(script, *arguments, **options):
    """The script as the first process of a session, as in a terminal of its own."""
    return start_python(script_of(script), *arguments, **options)


def start_python(*arguments, cwd, **environment):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def wait_for(process, pattern):
    """Until there is such a file."""
    deadline = time.monotonic() + PATIENCE
    while not glob.glob(str(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupted(process, whole_group):
    """What it says after Ctrl-C, which a terminal sends to the whole group, and `kill -INT` to one process."""
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, said
    deadline = time.monotonic() + 5
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.02)
    assert "Traceback" not in said and said.count("interrupted") == 1, said
    return said.splitlines()[-1]


@pytest.mark.parametrize("script", [*SCRIPTS, "bench/serve.py"])
def test_while_it_imports(tmp_path, script):
    for name in ("numpy", "gluon_bnn"):  # an import that takes long; the scripts begin with one of these
        (tmp_path / f"{name}.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(600)\n")
    process = start(script, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    wait_for(process, tmp_path / "importing")
    assert interrupted(process, whole_group=True).startswith(f"{os.path.basename(script)}: interrupted; ")


@pytest.mark.parametrize("module", ["mxnet", "scipy"])
def test_the_command_line_while_it_imports(tmp_path, module):
    """MXNet's import runs code by `exec`, after which Python itself would end by the signal."""
    work = "open('importing', 'w').close()\nimport time\ntime.sleep(600)\n"
    (tmp_path / f"{module}.py").write_text(f"exec({work!r})\n")
    path = os.pathsep.join([str(tmp_path), ROOT])
    process = start_python("-m", "gluon_bnn", "check", cwd=tmp_path, PYTHONPATH=path)
    wait_for(process, tmp_path / "importing")
    assert interrupted(process, whole_group=True) == "interrupted"


@pytest.mark.slow
def test_while_it_reads_pictures(tmp_path):
    """A hundred pictures of 64 million pixels take a minute."""
    for name in "ab":
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for i in range(50):
            if name == "a" and i == 0:
                Image.new("L", (8000, 8000)).save(tmp_path / "photographs" / "a" / "0.png")
            else:
                os.link(tmp_path / "photographs" / "a" / "0.png", tmp_path / "photographs" / name / f"{i}.png")
    process = programs.Fork("train_mnist.py", "--dataset", "photographs", cwd=tmp_path)
    wait_for(process, tmp_path / "photographs")
    while not any(name.endswith(".png") for name in open_files(process)):
        time.sleep(0.01)
    assert interrupted(process, True) == "train_mnist.py: interrupted; nothing was written yet"


def open_files(process):
    assert process.poll() is None, process.communicate()[1]
    for link in glob.glob(f"/proc/{process.pid}/fd/*"):
        with contextlib.suppress(OSError):
            yield os.readlink(link)


LOADER = """
from gluon_bnn import mx, nn, train
import os, time
import numpy as np
class Slow(mx.gluon.data.Dataset):
    def __len__(self):
        return 4000
    def __getitem__(self, row):
        open("loading", "w").close()
        time.sleep(0.05)
        return np.zeros(8, np.float32), np.float32(row % 2)
net = nn.BinaryDense(2)
net.initialize()
loader = mx.gluon.data.DataLoader(Slow(), 20, shuffle=True, num_workers=2)
trainer = mx.gluon.Trainer(net.collect_params(), "adam")
train.fit(net, trainer, mx.gluon.loss.SoftmaxCrossEntropyLoss(), lambda generator: loader, epochs=9)
"""


@pytest.mark.slow
def test_while_workers_of_a_data_loader_load(tmp_path):
    process = start_python("-c", HEAD + LOADER, cwd=tmp_path)
    wait_for(process, tmp_path / "loading")
    assert interrupted(process, True) == "-c: interrupted; nothing is kept"


FUZZ = "fuzz_runtime.py", [], "runs/fuzz_runtime/mutated-*", "no record is written"
BENCH = "bench_training.py", ["--no-torch"], "*/mxnet.log", "no record is written"
CASES = [  # of a script whose processes belong to its group both ways of Ctrl-C, of others one
    (*FUZZ, True),
    (*FUZZ, False),
    pytest.param(*BENCH, False, marks=needs_library),
    ("deploy.py", ["--epochs", "100000"], "runs/deploy-digits/train/checkpoint.safetensors", "add --resume", True),
    (
        "reproduce.py",
        ["--results", "r", "--only", "bwn", "--dataset", "digits", "--hidden", "9"],
        "runs/reproduce/bwn-0/checkpoint.safetensors",
        "the same command goes on",
        False,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("script, arguments, begun, what, whole_group", CASES)
def test_while_it_works(tmp_path, script, arguments, begun, what, whole_group):
    process = start(script, *arguments, cwd=tmp_path, TMPDIR=str(tmp_path))
    wait_for(process, tmp_path / begun)
    last = interrupted(process, whole_group)
    assert last.startswith(f"{script}: interrupted; ") and what in last
    assert not glob.glob(str(tmp_path / "runs/fuzz_runtime/mutated-*"))
    assert not glob.glob(str(tmp_path / "*/mxnet.log")), "temporary files are left"


HEAD = (
    f"import os, signal, subprocess, sys, time\nsys.path.insert(0, {EXPERIMENTS!r})\nfrom common import interrupt\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\ninterrupt.says('nothing is kept')\n"
)


def code(lines, cwd):
    """Run lines with the module at hand; what goes wrong in them is seen by their exit status and stderr."""
    return subprocess.run([sys.executable, "-c", HEAD + lines], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_one_that_comes_while_an_object_is_freed_is_not_lost(tmp_path):
    done = code(
        "class Dying:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        for _ in range(1000): pass\n"
        "Dying()\n"
        "time.sleep(30)\n",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (130, "-c: interrupted; nothing is kept\n")


def test_what_cleaning_up_raises_is_not_shown(tmp_path):
    done = code("try:\n    raise KeyboardInterrupt\nfinally:\n    os.rmdir('nowhere')\n", tmp_path)
    assert (done.returncode, done.stderr) == (130, "-c: interrupted; nothing is kept\n")


def test_other_errors_are_shown_as_ever(tmp_path):
    done = code("try:\n    1 / 0\nfinally:\n    {}['x']\n", tmp_path)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 2 and "interrupted" not in done.stderr


def test_one_that_comes_while_a_process_starts_is_not_lost(tmp_path):
    done = code(
        "with interrupt.kept_from_others():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    process = subprocess.Popen(['sleep', '60'])\n"
        "try:\n    time.sleep(30)\n"
        "finally:\n    process.kill()\n    print('known')\n",
        tmp_path,
    )
    assert done.returncode == 130 and done.stdout == "known\n"


def test_processes_that_were_started_do_not_hear_it_and_are_killed(tmp_path):
    child = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print(True)"
    done = code(
        f"print(interrupt.run([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE).stdout)\n"
        "import threading\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "interrupt.run(['sh', '-c', 'echo $$ > child; exec sleep 60'])\n",
        tmp_path,
    )
    assert done.returncode == 130 and "True" in done.stdout
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "child").read_text()), 0)
