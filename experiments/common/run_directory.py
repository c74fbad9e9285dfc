"""The --save-dir of a run: its files, and that one run of train_mnist.py at a time has it."""

import contextlib
import errno
import os

from gluon_bnn import _files
from gluon_bnn.cli import line_of

CHECKPOINT, RECORD, MODEL = "checkpoint.safetensors", "record.json", "model.safetensors"
FILES = {  # and what each of them is
    MODEL: "the frozen net",
    "net-symbol.json": "the export for MXNet, its graph",
    "net-0000.params": "its parameters",
    RECORD: "all figures, settings and versions",
    "curves.png": "loss and errors by epoch",
    "confusion.png": "which classes are taken for which",
    "filters.png": "the signs of the first layer",
    CHECKPOINT: "the last epoch and the best",
}


def checkpoint_in(directory):
    return os.path.join(directory, CHECKPOINT)


def contents(directory, files, seconds):
    """Which of the files {name: what it is} are in a directory, after so many seconds of work, as text."""
    there = {name: what for name, what in files.items() if os.path.exists(os.path.join(directory, name))}
    width = max(map(len, there))
    lines = (f"  {name:{width}}  {what}" for name, what in there.items())
    return "\n".join([f"{directory} has, after {seconds:.0f} s:", *lines])


@contextlib.contextmanager
def claimed(args, workers):
    """--save-dir, locked for this run; OSError where another process has it, or where a run in it is not finished."""
    record, checkpoint = os.path.join(args.save_dir, RECORD), checkpoint_in(args.save_dir)
    with contextlib.ExitStack() as stack:
        with workers.together():
            if workers.rank == 0:
                _files.make_directory(record)
                stack.enter_context(_files.lock(record))
                # The record is written last.
                if (
                    not args.resume
                    and not args.overwrite
                    and os.path.exists(checkpoint)
                    and not (os.path.exists(record) and os.path.getmtime(record) >= os.path.getmtime(checkpoint))
                ):
                    raise FileExistsError(errno.EEXIST, "has a run that is not finished", args.save_dir)
        yield


def advice(error):
    """What to do about an error of training, by the options of train_mnist.py."""
    kinds = {
        FloatingPointError: "try a smaller --lr",
        BlockingIOError: "wait for it, or use another --save-dir",
        FileExistsError: "go on with it by --resume, or begin again by --overwrite",
        ConnectionError: "",
        OSError: "use another --save-dir, or add --resume once this is mended",
        Exception: "",
    }
    text = next(text for kind, text in kinds.items() if isinstance(error, kind))
    return f"train_mnist.py: {line_of(error)}" + (f"; {text}" if text else "")
