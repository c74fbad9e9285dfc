"""The two limits of 1-bit inference on this machine: xor, popcount and add on registers, and reading the weights."""

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
    loops.roofline_xnor.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int
    loops.roofline_xnor.restype = ctypes.c_int64
    loops.roofline_read.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    loops.roofline_read.restype = ctypes.c_uint64
    return loops


class Registers:
    """A candidate: the seconds that so many bits take by the best of the loops on registers."""

    def __init__(self, loops, bits, threads):
        self.loops, self.bits, self.threads = loops, bits, threads

    def times(self):
        rest()
        return min(
            statistics.median(self.seconds(variant) for _ in range(5))
            for variant in range(self.loops.roofline_variants())
        )

    def seconds(self, variant, steps=1000):
        """Seconds for `bits`, from a run of at least a millisecond."""
        while True:
            began = time.perf_counter()
            counted = self.loops.roofline_xnor(variant, steps, self.threads)
            taken = time.perf_counter() - began
            if taken > 0.001:
                return taken * self.bits / counted
            steps *= 4
