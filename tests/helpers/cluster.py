"""A distributed job whose processes are ended, and their output shown, when they take too long."""

import tempfile
import time

from gluon_bnn import launch


class Job:
    """All processes of a job that run `command`; a context manager that leaves none of them behind.

    processes : [(role, Popen)], workers last; a worker's rank is not its place among them
    """

    def __init__(self, command, workers=2, **options):
        self._file = tempfile.TemporaryFile("w+")
        self.processes = list(launch.start(command, workers, stdout=self._file, stderr=self._file, **options))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        launch.kill(self.processes)
        self._file.close()

    def workers(self):
        return [process for role, process in self.processes if role == "worker"]

    def output(self):
        """How all processes ended and what they printed; for a test's message."""
        self._file.seek(0)
        return "\n".join(
            [f"{role}: exit code {process.poll()}" for role, process in self.processes] + [self._file.read()]
        )

    def wait(self, timeout, processes=None):
        """Until these processes, by default all, have ended; AssertionError with all output where they do not."""
        deadline = time.monotonic() + timeout
        waiting = [process for _, process in self.processes] if processes is None else processes
        while any(process.poll() is None for process in waiting):
            if time.monotonic() > deadline:
                launch.kill(self.processes)
                raise AssertionError(f"not done after {timeout} s\n{self.output()}")
            time.sleep(0.05)
