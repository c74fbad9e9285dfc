"""Progress of long work: a tqdm bar in a terminal; elsewhere one line per epoch of training, or nothing.

tqdm's own lock is a semaphore of the system, for bars of several processes, and after Ctrl-C Python 3.14 warns that it
has leaked. These bars have a lock for the threads of one process.
"""

import functools
import sys
import threading
import time
from typing import Any, Optional

from tqdm import tqdm


@functools.cache
def _bars():
    """A subclass of tqdm with this lock: the user's own bars keep theirs."""
    bars = type("Bar", (tqdm,), {})
    bars.set_lock(threading.RLock())
    return bars


def progress_bar(**options: Any) -> tqdm:
    """A `tqdm` with these options; it shows nothing where output is no terminal, unless they say so."""
    return _bars()(**{"disable": None, **options})


class EpochProgress:
    """Training on stderr, as a context manager: a bar over all steps, or a line for each epoch that is done.

    epochs, done : of the run, and those that a checkpoint had
    steps : in an epoch, None where that is not known
    show : False for nothing at all
    validation : the text of the validation result of the last epoch in the checkpoint, None without one
    """

    def __init__(
        self, epochs: int, done: int, steps: Optional[int], show: bool, validation: Optional[str] = None
    ) -> None:
        terminal = show and sys.stderr is not None and sys.stderr.isatty()
        self._epochs, self._done, self._began = epochs, done, time.perf_counter()
        self._lines = show and not terminal
        self._epoch = done
        self._validation = {} if validation is None else {"validation": validation}
        self._bar = progress_bar(
            desc=f"epoch {done + 1}/{epochs}",
            total=None if steps is None else epochs * steps,
            initial=0 if steps is None else done * steps,
            # The text first: where the terminal is narrow, the bar is cut off.
            bar_format="{desc} {remaining} |{bar}|",
            dynamic_ncols=True,
            smoothing=0,  # the mean over all steps, so that validation counts in the time that is left
            disable=not terminal,
        )

    def __enter__(self) -> "EpochProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin_epoch(self, epoch: int) -> None:
        """`epoch` begins, counted from 0."""
        self._epoch = epoch
        self.tell()

    def step(self) -> None:
        """A step is done."""
        self._bar.update()

    def tell(self, **shown: str) -> None:
        """Show these values, by their names; validation is shown until there is another."""
        values = [f"{name} {value}" for name, value in {**self._validation, **shown}.items()]
        self._bar.set_description_str(" ".join([f"epoch {self._epoch + 1}/{self._epochs}", *values]), refresh=False)

    def end_epoch(self, seconds: float, **shown: str) -> None:
        """The epoch is done, with these values."""
        self._validation = {name: value for name, value in shown.items() if name == "validation"}
        self.tell(**shown)
        self._bar.refresh()
        if self._lines:
            elapsed, now = time.perf_counter() - self._began, self._epoch + 1
            left = tqdm.format_interval(elapsed / (now - self._done) * (self._epochs - now))
            values = [f"{name} {value}" for name, value in reversed(shown.items())]
            print(
                f"epoch {now}/{self._epochs}: {', '.join(values)}, {seconds:.1f} s, {left} left",
                file=sys.stderr,
                flush=True,
            )
