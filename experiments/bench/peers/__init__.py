"""The libraries that bench_inference.py and bench_training.py time, one file each.

The file of a peer has a class `Inference`, a subclass of bench.inference.Worker, or `Training`, one of
bench.training.Worker, or both, and names in NEEDS the packages without which it takes no part. It imports its library
within the methods, so that the benchmark itself loads none. To add a peer, add a file.
"""

import importlib
import importlib.util
import pkgutil

BENCHMARKS = {"inference": "Inference", "training": "Training"}


def names():
    """The names of all peers: ours, MXNet, then the other libraries."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(found, key=lambda name: (bool(needs(name)), name != "ours", name))


def needs(name):
    """The packages that a peer needs beyond those of gluon_bnn."""
    return getattr(importlib.import_module(f"bench.peers.{name}"), "NEEDS", ())


def worker_of(benchmark, name):
    """The class of a peer for this benchmark; None where it has none."""
    return getattr(importlib.import_module(f"bench.peers.{name}"), BENCHMARKS[benchmark], None)


def present(benchmark):
    """The names of the peers of this benchmark that this Python can run."""
    return [name for name in names() if worker_of(benchmark, name) and all(map(importlib.util.find_spec, needs(name)))]
