"""Sizes of arrays: the awkward ones, and tests over them and what hypothesis draws."""

from hypothesis import example, given, strategies

# Around the widths of words, registers and blocks.
SIZES = (1, 2, 3, 7, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 129, 1000)
SEEDS = strategies.integers(0, 2**32 - 1)


def sizes(most):
    """A strategy for sizes from 1 to `most`, half of them from SIZES."""
    return strategies.sampled_from([size for size in SIZES if size <= most]) | strategies.integers(1, most)


def over_sizes(**most):
    """Runs a test over a `seed` and sizes of at most so many: every one of SIZES in every place, and drawn ones.

    most : {name of an argument: largest size}; the SIZES above it are that size
    """

    def decorate(test):
        test = given(seed=SEEDS, **{name: sizes(largest) for name, largest in most.items()})(test)
        for seed in range(len(SIZES)):  # whose number is prime: each step meets all of them, no two in the same order
            steps = enumerate(most.items(), 1)
            found = {name: min(SIZES[step * seed % len(SIZES)], largest) for step, (name, largest) in steps}
            test = example(seed=seed, **found)(test)
        return test

    return decorate
