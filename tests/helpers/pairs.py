"""Few cases of tests with many parameters: any two values of any two parameters meet in one of them."""

import itertools

import pytest

from gluon_bnn.native import library

# The implementations and instruction sets of the fixtures in conftest.py, which take them from a test's parameters.
# The fast tests take what a user gets.
SLOW_WITH_LIBRARY = [pytest.mark.slow] if library.available() else []
IMPLEMENTATIONS = ["native", pytest.param("composed", marks=SLOW_WITH_LIBRARY)]
INSTRUCTION_SETS = [
    *(pytest.param(name, marks=pytest.mark.slow) for name in library.instruction_sets()[:-1]),
    *(library.instruction_sets()[-1:] or ["none"]),
]
FIXTURES = ("implementation", "instruction_set")


def pairs(**parameters):
    """The mark that gives a test few of all combinations of its parameters' values, {name: values}.

    One after the other those are taken in which most pairs meet that have not yet met, until all have. So what goes
    wrong with a value, or with two together, is seen.

    >>> [case.values for case in pairs(a=[1, 2], b=[1, 2], c=[1, 2]).args[1]]
    [(1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1)]
    """
    one = type(pytest.param())
    values = [[v if isinstance(v, one) else pytest.param(v) for v in each] for each in parameters.values()]
    cases = {  # {place of each value among those of its parameter: the pairs that meet there}
        places: frozenset(itertools.combinations(enumerate(places), 2))
        for places in itertools.product(*map(range, map(len, values)))
    }
    missing, chosen = set().union(*cases.values()), []
    while missing:
        best = max(cases, key=lambda places: len(cases[places] & missing))
        missing -= cases[best]
        case = [of_one[place] for of_one, place in zip(values, best)]
        marks = [mark for each in case for mark in each.marks]
        chosen.append(pytest.param(*(each.values[0] for each in case), marks=marks))
    assert chosen, "pairs is for two parameters or more, with values: a test without a case would pass unseen"
    return pytest.mark.parametrize(
        list(parameters),
        chosen,
        ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
        indirect=[name for name in parameters if name in FIXTURES],
    )
