"""Names what MXNet and this package need and this machine lacks, with the commands that bring it, all of it at once.

A minimal system lacks several things, and each import stops at the first of them. So whatever is missing, `find` looks
for everything: modules of Python, the system libraries that MXNet's wheel expects but does not carry, and, where the
native library was not built, a C++ compiler.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from typing import NamedTuple, Optional

MXNET_VERSION = "1.9.1"
REINSTALL = f"pip install mxnet=={MXNET_VERSION} --force-reinstall --no-deps"
# What pip calls a module, where that is not its name. MXNet imports distutils, which Python 3.12 removed and setuptools
# provides. It plots with graphviz, in whose later versions its calls fail, as its metadata says.
PIP_NAMES = {"distutils": "setuptools", "graphviz": "'graphviz<0.9'"}
WITH_MXNET = "graphviz", "requests"  # what its metadata asks for in addition to NumPy; its import needs the second only
FOR_RUNTIME = "numpy", "safetensors"
FOR_TRAINING = (*FOR_RUNTIME, "scipy", "tqdm", "distutils", "requests", "mxnet")
COMPILER = "g++"
# The Debian packages of the system libraries that MXNet's wheel and our library expect but do not carry.
DEBIAN_PACKAGES = {
    "libgomp.so.1": "libgomp1",
    "libquadmath.so.0": "libquadmath0",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
}
# What has been tried, first and last of each; later ones may work as well.
TRIED = {"Python": ("3.9", "3.14"), "NumPy": ("1", "2")}


class Missing(NamedTuple):
    """What is missing; as text, that and what to do about it.

    modules : of Python, by the names under which they are imported
    libraries : of the system, by file name
    compiler : whether the native library was not built and there is no C++ compiler to build it
    """

    modules: list[str]
    libraries: list[str]
    compiler: bool

    def __str__(self):
        clauses = [
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not {where}"
            for names, where in (
                ([PIP_NAMES.get(module, module) for module in self.modules], "installed"),
                (self.libraries, "among the system's libraries"),
            )
            if names
        ]
        if self.compiler:
            clauses.append(
                "the native library, without which binary layers are slower, was not built for want of a C++ compiler"
            )
        return f"{'; '.join(clauses)}: {self.cure()}"

    def cure(self) -> str:
        """The commands that bring everything, in their order."""
        gone = [module for module in self.modules if installed(PIP_NAMES.get(module, module))]
        new = [module for module in self.modules if module not in gone]
        commands = [how_to_get(self.libraries, self.compiler)] if self.libraries or self.compiler else []
        commands += [install(*new)] if new else []
        commands += [reinstall(PIP_NAMES.get(module, module)) for module in gone]
        if self.compiler:
            from . import _installation  # rarely needed, and it imports a good deal

            commands.append(_installation.find().command)
        return "; ".join(commands)


def find(error: Optional[BaseException] = None) -> Missing:
    """Everything that training needs and that is not here, found without importing any of it; `error`, of an import,
    may name more."""
    from .native import library  # which imports this module

    modules = [name for name in FOR_TRAINING if not is_there(name)]
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name and error.name not in modules:
        modules.append(error.name)
    return Missing(modules, _libraries(error), library.path() is None and not has_compiler())


def _libraries(error):
    """The system libraries that are missing: the one that an error of the loader names, MXNet's, and where there are
    some, those of our library, so that one command brings all."""
    from .native import library

    found = {name_missing(error)} - {None}
    path = mxnet_library()
    if path:
        found.update(missing_libraries(path))
    elif platform.machine() == "x86_64" and not is_there("mxnet"):  # what its wheel there will need
        found.update(missing_libraries(None))
    if found and library.path():
        found.update(missing_libraries(library.path()))
    return sorted(found)


def is_there(module: str) -> bool:
    """Whether Python would find a module."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError where sys.modules holds something else by that name
        return True


def installed(package: str) -> Optional[str]:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def mxnet_library() -> Optional[str]:
    """The path of the installed libmxnet.so, found without importing MXNet, or None."""
    try:
        spec = importlib.util.find_spec("mxnet")
    except (ImportError, ValueError):  # ValueError where sys.modules holds something else by that name
        return None
    path = spec and spec.origin and os.path.join(os.path.dirname(spec.origin), "libmxnet.so")
    return path if path and os.path.isfile(path) else None


def has_compiler() -> bool:
    """Whether a C++ compiler is where setuptools looks for one."""
    command = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or COMPILER
    return bool(shutil.which((command.split() or [COMPILER])[0]))


def missing_libraries(path: Optional[str]) -> list[str]:
    """The names of all system libraries that the shared library `path`, or where it is None MXNet's, needs, itself or
    for others, and that are not here, sorted; found without loading it."""
    if not sys.platform.startswith("linux"):
        return []
    candidates = list(DEBIAN_PACKAGES)
    if path:
        try:
            listed = subprocess.run(
                ["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
            ).stdout
            candidates = re.findall(r"^\s*(\S+) => not found$", listed, re.MULTILINE)
        except OSError:  # there is no ldd
            pass
    return sorted(name for name in set(candidates) if not _can_be_loaded(name))


def _can_be_loaded(name):
    """Whether the loader of this process finds a library; it may look in places where ldd's does not, as with conda."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def how_to_get(libraries: Iterable[str], compiler: bool = False) -> str:
    """What installs system libraries of these names, and a compiler, as one line."""
    packages = sorted([DEBIAN_PACKAGES[name] for name in libraries if name in DEBIAN_PACKAGES] + [COMPILER] * compiler)
    others = sorted(set(libraries) - DEBIAN_PACKAGES.keys())
    lines = [f"apt-get install {' '.join(packages)} (on Debian or Ubuntu)"] if packages else []
    lines += [f"install what provides {', '.join(others)}"] if others else []
    return "; ".join(lines)


def name_missing(error: Optional[BaseException]) -> Optional[str]:
    """The system library whose absence an error of the loader reports, or None."""
    found = re.search(r"(lib[^\s/:]+\.so[.\d]*): cannot open shared object file", str(error))
    return found and found[1]


def install(*modules: str) -> str:
    """The command that installs what provides these modules, the same on every Python.

    MXNet's metadata asks for NumPy 1, which has no wheel for Python 3.13 and later; with --no-deps pip does not read
    it, and what MXNet needs in addition to NumPy is installed by name.

    >>> install("distutils")
    'pip install setuptools'
    """
    others = dict.fromkeys([*modules, *(WITH_MXNET if "mxnet" in modules else ())])
    others.pop("mxnet", None)
    command = f"pip install {' '.join(PIP_NAMES.get(name, name) for name in others)}"
    return f"{command} && pip install --no-deps mxnet=={MXNET_VERSION}" if "mxnet" in modules else command


def reinstall(package: str) -> str:
    """The command that replaces an installed package by a whole one."""
    return REINSTALL if package == "mxnet" else f"pip install --force-reinstall --no-deps {package}"


def explain(error: BaseException) -> str:
    """What to do about an error that `import mxnet` raised, as one string."""
    missing = find(error)
    if name_missing(error) or isinstance(error, ModuleNotFoundError) and error.name in missing.modules:
        return f"MXNet cannot be imported: {missing}"
    text = f"importing MXNet failed: {type(error).__name__}: {' '.join(str(error).split())}"
    return "; ".join([text, *untried(), f"if the installed MXNet is damaged: {REINSTALL}"])


def untried() -> list[str]:
    """What is said of a Python or NumPy that this package has not been tried on; nothing of others."""
    found = []
    for name, version in (("Python", platform.python_version()), ("NumPy", installed("numpy"))):
        first, last = TRIED[name]
        if version and not _numbers(first) <= _numbers(version)[: len(_numbers(last))] <= _numbers(last):
            found.append(f"gluon_bnn has been tried on {name} {first} to {last}, and this is {name} {version}")
    return found


def _numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]
