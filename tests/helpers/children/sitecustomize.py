"""Python imports this first in the processes that tests start, where tests/conftest.py puts it on their path: MXNet's
import then takes half the time.

MXNet writes the source of a function for each of its 2,500 operators, and compiles all of them while it is imported.
Here each is compiled when it is called for the first time. The processes of pytest itself, and those that ignore
PYTHONPATH, have MXNet as it is.
"""

import builtins
import importlib.machinery
import sys


def execute_later(module):
    """What `exec` is to be in one of MXNet's modules that make functions."""

    def execute(source, _, names):
        name, made = source[source.index("def ") + 4 : source.index("(")], {}

        def function(*arguments, **options):
            if name not in made:
                builtins.exec(source, vars(module), made)
            return made[name](*arguments, **options)

        names[name] = function

    return execute


class Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        module.exec = execute_later(module)
        super().exec_module(module)


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in ("mxnet.ndarray.register", "mxnet.symbol.register"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, Finder)
