"""The JavaScript module of experiments/deploy_web, in one process of Node for many files."""

import base64
import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from paths import EXPERIMENTS, HELPERS

WEB = os.path.join(EXPERIMENTS, "deploy_web")
NODE = shutil.which("node") or shutil.which("nodejs")
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node: apt-get install nodejs")


class JavaScript:
    """A context: `answer` has the module load and run one file after the other."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [NODE, os.path.join(HELPERS, "models.mjs"), os.path.join(WEB, "gluon_bnn.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def answer(self, path, *inputs):
        """(why the file is refused or None, the outputs for each batch of `inputs`, all that Node said).

        AssertionError where it did anything else than load or refuse it.
        """
        given = [[str(x.dtype), base64.b64encode(x.tobytes()).decode()] for x in inputs]
        self.process.stdin.write(json.dumps({"model": os.fspath(path), "inputs": given}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"Node ended over {path}"
        said = json.loads(line)
        assert "failed" not in said, said["failed"]
        outputs = [floats(text).reshape(len(x), -1) for x, text in zip(inputs, said.get("outputs", ()))]
        return said.get("refused"), outputs, said


def floats(text):
    """The float32 numbers of an answer."""
    return np.frombuffer(base64.b64decode(text), "<f4")
