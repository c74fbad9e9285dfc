"""Runs one command as all the processes of a distributed job, on this machine alone."""
import os
import socket
import subprocess
import tempfile
import time


class Job:
    """A scheduler, servers and workers that run `command`; a context manager that leaves none of them behind.

    processes : [(role, Popen)], workers last; a worker's rank is not its place among them
    """

    def __init__(self, command, workers=2, servers=1, cwd=None, server_environ={}):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": str(port), "DMLC_NODE_HOST": "127.0.0.1",
                  "DMLC_NUM_WORKER": str(workers), "DMLC_NUM_SERVER": str(servers),
                  "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        self.processes, self._files = [], []
        for role in ["scheduler"] + ["server"] * servers + ["worker"] * workers:
            environ = {**os.environ, **common, "DMLC_ROLE": role, **(server_environ if role == "server" else {})}
            file = tempfile.TemporaryFile("w+")
            self._files.append(file)
            self.processes.append((role, subprocess.Popen(command, cwd=cwd, env=environ, stdout=file,
                                                          stderr=subprocess.STDOUT)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        for file in self._files:
            file.close()

    def kill(self):
        for _, process in self.processes:
            process.kill()
            process.wait()

    def workers(self):
        return [process for role, process in self.processes if role == "worker"]

    def output(self):
        """What all processes printed, and how they ended; for a test's message."""
        texts = []
        for (role, process), file in zip(self.processes, self._files):
            file.seek(0)
            texts.append(f"--- {role}, exit code {process.poll()}\n{file.read()}")
        return "\n".join(texts)

    def wait(self, timeout, processes=None):
        """Until these processes, by default all, have ended; AssertionError with all output where they do not."""
        deadline = time.monotonic() + timeout
        waiting = [process for _, process in self.processes] if processes is None else processes
        while any(process.poll() is None for process in waiting):
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"not done after {timeout} s\n{self.output()}")
            time.sleep(0.05)
