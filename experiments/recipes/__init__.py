"""The published methods that train_mnist.py trains, one file each.

A file says what its method is, its paper and every deviation in the docstring, and the rest in RECIPE. What several
methods have of one source stands once, in a file of `setups`, which they name; deviations are numbered through both.
`train_mnist.py --recipe`, reproduce.py and results_table.py find the files of this folder by themselves: to add a
method, add a file.
"""

import dataclasses
import importlib
import pkgutil


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method.

    title : its name in the README's table and in the chart
    published : the test error in percent that is published for this network and budget, with what differs; "" where
        none is
    options : those of train_mnist.py, by their names; all others keep their defaults
    table : the README's table that shows it, "methods" on one network, or "nets", each of its own
    row : the table is sorted by this number; methods without one come last
    seeds : the runs that reproduce.py makes unless seeds are given: those that are recorded. None where the data is on
        few machines
    error : the name in the record of the error that the method is judged by
    remark : what the table adds to that error, with names of other errors of the record in braces
    """

    title: str
    published: str
    options: dict
    table: str = "methods"
    row: float = float("inf")
    seeds: tuple = (0,)
    error: str = "test_error"
    remark: str = ""


def names():
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name):
    return importlib.import_module(f"recipes.{name}").RECIPE


def methods():
    """{name: Recipe} of all, in the order of the table."""
    return dict(sorted(((name, load(name)) for name in names()), key=lambda item: item[1].row))


def command_line(name):
    """The recipe as arguments of train_mnist.py, where None is "none" and True a flag."""
    arguments = ["--method", name]
    for option, value in load(name).options.items():
        values = value if isinstance(value, (tuple, list)) else [value]
        if value is not False:
            arguments.append("--" + option.replace("_", "-"))
            arguments += ["none" if v is None else str(v) for v in values if v is not True]
    return arguments
