"""Sizes of arrays: the awkward ones, and what hypothesis draws."""

from hypothesis import strategies

# Around the widths of words, registers and blocks.
SIZES = (1, 2, 3, 7, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 129, 1000)
SEEDS = strategies.integers(0, 2**32 - 1)


def sizes(most):
    """A size of at most so many: half of them are of SIZES."""
    return strategies.sampled_from([size for size in SIZES if size <= most]) | strategies.integers(1, most)
