"""Where the checkout has what tests look at."""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXPERIMENTS = os.path.join(ROOT, "experiments")
GOLDEN = os.path.join(ROOT, "tests", "golden")
HELPERS = os.path.join(ROOT, "tests", "helpers")


def script_of(name):
    """The path of a script that people start."""
    return os.path.join(ROOT, "tests", "fuzz", name) if name == "fuzz_runtime.py" else os.path.join(EXPERIMENTS, name)
