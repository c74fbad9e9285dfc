"""The limits of inference on this machine: xor, popcount and add on registers, products of bytes on registers, and
reading the weights."""

import ctypes
import os
import statistics
import subprocess
import sys
import time

from bench.serve import rest


def compile_rooflines(directory):
    """roofline.cc, compiled for this machine into the directory, as a ctypes library."""
    path = os.path.join(directory, "roofline.so")
    command = [
        os.environ.get("CXX", "g++"),
        "-O3",
        "-march=native",
        "-fopenmp",
        "-shared",
        "-fPIC",
        "-o",
        path,
        os.path.join(os.path.dirname(os.path.abspath(__file__)), "roofline.cc"),
    ]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"roofline.cc needs a C++ compiler, g++ or the one named in CXX: {error}")
    loops = ctypes.CDLL(path)
    loops.roofline_name.restype = ctypes.c_char_p
    for loop in (loops.roofline_xnor, loops.roofline_bytes):
        loop.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int
        loop.restype = ctypes.c_int64
    loops.roofline_read.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    loops.roofline_read.restype = ctypes.c_uint64
    return loops


class Registers:
    """A candidate: the seconds that so many products take by the best variant of a loop on registers,
    `loops.roofline_xnor` or `loops.roofline_bytes`."""

    def __init__(self, loop, variants, products, threads):
        self.loop, self.variants, self.products, self.threads = loop, variants, products, threads

    def times(self):
        rest()
        return min(statistics.median(self.seconds(variant) for _ in range(5)) for variant in range(self.variants))

    def seconds(self, variant, steps=1000):
        """Seconds for `products`, from a run of at least a millisecond."""
        while True:
            began = time.perf_counter()
            counted = self.loop(variant, steps, self.threads)
            taken = time.perf_counter() - began
            if taken > 0.001:
                return taken * self.products / counted
            steps *= 4
