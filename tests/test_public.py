"""What an editor and Jupyter show of the package: names, signatures, texts."""

import ast
import inspect
import pathlib
import pydoc
import types

import pytest

import gluon_bnn


def public_modules(module=gluon_bnn):
    """A module, and those that its `__all__` names, and so on."""
    found = {module.__name__: module}
    for name in module.__all__:
        each = getattr(module, name)
        if isinstance(each, types.ModuleType) and each.__name__.startswith("gluon_bnn"):
            found.update(public_modules(each))
    return found


MODULES = public_modules()


def public_names():
    """{full name: object} of all that has a text: functions, classes, their methods and properties."""
    found = {}
    for module in MODULES.values():
        for name in module.__all__:
            each = getattr(module, name)
            if getattr(each, "__module__", "").startswith("gluon_bnn") and callable(each):
                found[f"{module.__name__}.{name}"] = each
            if not inspect.isclass(each):
                continue
            ours = [vars(base) for base in each.__mro__ if base.__module__.startswith("gluon_bnn")]
            for member, value in {member: value for names in reversed(ours) for member, value in names.items()}.items():
                value = getattr(value, "__func__", value)
                value = value.fget if isinstance(value, property) else value
                if not member.startswith("_") and inspect.isfunction(value):
                    found[f"{module.__name__}.{name}.{member}"] = value
    return {name: each for name, each in found.items() if inspect.isclass(each) or inspect.isroutine(each)}


NAMES = public_names()


def names_of(module):
    """Those of NAMES that this module has, and no module within it."""
    return [name for name in NAMES if max((m for m in MODULES if name.startswith(f"{m}.")), key=len) == module]


def test_rooms_are_found():
    assert {"gluon_bnn.nn", "gluon_bnn.quantizers", "gluon_bnn.graph.graph", "gluon_bnn.reference.binary"} < set(
        MODULES
    )
    assert {"gluon_bnn.freeze", "gluon_bnn.summary", "gluon_bnn.nn.BinaryDense.signs"} < set(NAMES)


def test_editors_see_what_is_there():
    """Names that are found when they are used are imported where only type checkers look."""
    tree = ast.parse(pathlib.Path(gluon_bnn.__file__).read_text(encoding="utf-8"))
    (seen,) = (node.body for node in tree.body if isinstance(node, ast.If))
    names = {alias.name: node.module for node in seen for alias in node.names}
    assert sorted([*names, "__version__"]) == gluon_bnn.__all__
    assert {name: module for name, module in names.items() if module} == gluon_bnn._WHERE


@pytest.mark.parametrize("name", MODULES)
def test_completion_shows_what_is_public_and_nothing_else(name):
    module = MODULES[name]
    assert module.__doc__ and len(set(module.__all__)) == len(module.__all__)
    assert dir(module) == sorted(module.__all__)
    foreign_modules = [
        each
        for each in dir(module)
        if isinstance(getattr(module, each), types.ModuleType)
        and getattr(module, each) is not gluon_bnn.mx
        and not getattr(module, each).__name__.startswith("gluon_bnn")
    ]
    assert not foreign_modules
    assert module.__doc__.splitlines()[0] in pydoc.plain(pydoc.render_doc(module))


@pytest.mark.parametrize("module", MODULES)
def test_help_reads_well(module):
    """Its own text, not one that MXNet has for what it overrides, and no markup that a terminal does not show."""
    for name in names_of(module):
        each = NAMES[name]
        assert each.__doc__ and each.__doc__.strip(), name
        assert "\\" not in each.__doc__ and "::" not in each.__doc__, name
        try:
            signature = str(inspect.signature(each))
        except ValueError:  # an exception's, say
            continue
        assert " at 0x" not in signature and "<object" not in signature, name


@pytest.mark.parametrize("module", MODULES)
def test_parameters_and_results_have_types(module):
    for name in names_of(module):
        each = NAMES[name]
        if inspect.isclass(each) and "__init__" not in vars(each):  # one that MXNet or Python has
            continue
        signature = inspect.signature(each.__init__ if inspect.isclass(each) else each)
        parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
        assert [p.name for p in parameters if p.annotation is p.empty] == [], name
        assert inspect.isclass(each) or signature.return_annotation is not signature.empty, name


def test_every_name_belongs_to_a_module():
    assert sorted(name for module in MODULES for name in names_of(module)) == sorted(NAMES)
