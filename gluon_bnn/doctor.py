"""Says what this installation is made of, what is missing, and what to do about it.

Nothing that is broken keeps the report from coming out. What raises an error becomes a line of it; what ends the
process instead, as a library that is cut off does, is tried in another process first.
"""

import importlib
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import warnings
from typing import Any

from . import __version__, _compat, _installation, _missing, ops
from .native import library

__all__ = ["describe", "examine"]


def __dir__():
    return __all__


PACKAGES = "mxnet", "numpy", "scipy", "safetensors", "tqdm", "matplotlib", "pillow", "setuptools"
# What has to be there in addition to MXNet, in the order of import, each with the module of it that is imported.
MODULES = {"numpy": "numpy", "safetensors": "safetensors.numpy", "scipy": "scipy.special", "tqdm": "tqdm"}
LIBRARY, OPERATORS = "the native library", "the native library into MXNet"
TIMEOUT = 180  # seconds without the end of an import, in the other process


def examine() -> dict[str, Any]:
    """The state of the installation: "problems" stop it from working, "advice" does not. Raises no error.

    "runtime_only" is True where MXNet is not installed: `gluon_bnn.runtime` does without it, so then nothing that
    only training needs is a problem.
    """
    report: dict[str, Any] = {
        "package": {"path": None, "installed": None, "hides": None},
        "versions": {},
        "runtime_only": False,
        "imports": {},
        "crashes": {},
        "missing": {"modules": [], "libraries": [], "compiler": False},
        "threads": {"cores": None, "OMP_NUM_THREADS": None},
        "native": {"library": None, "instruction_set": None, "instruction_sets": []},
        "data": {},
        "problems": [],
        "advice": [],
    }
    for examine_part in (
        _examine_package,
        _examine_missing,
        _examine_imports,
        _examine_native,
        _examine_choices,
        _examine_data,
    ):
        try:
            examine_part(report)
        except (Exception, SystemExit) as error:
            part = examine_part.__name__.rsplit("_", 1)[1]
            report["problems"].append(f"the doctor could not examine this part: {part} ({_line(error)})")
    for key in ("problems", "advice"):  # errors of others may have many lines
        report[key] = [" ".join(text.split()) for text in report[key]]
    report["ok"] = not report["problems"]
    return report


def _line(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _examine_package(report):
    """Which copy is running, the versions of all packages, and how many threads there will be."""
    for package in PACKAGES:
        report["versions"][package] = _version(package)
    report["versions"] = {"python": platform.python_version(), "gluon_bnn": __version__, **report["versions"]}
    report["runtime_only"] = report["versions"]["mxnet"] is None
    report["threads"] = {"cores": _compat.physical_cores(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
    installation = _installation.find()
    report["package"].update(
        path=str(installation.package),
        installed=str(installation),
        hides=installation.hidden and str(installation.hidden),
    )
    if installation.hidden is not None:
        report["advice"].append(f"{installation.why_hidden}; to install this copy: {installation.command}")
    report["advice"] += _missing.untried()
    if not report["runtime_only"] and report["versions"]["matplotlib"] is None:
        report["advice"].append("no matplotlib, so experiments draw no pictures: pip install matplotlib")
    if report["versions"]["pillow"] is None:
        report["advice"].append("no Pillow, so pictures cannot be read, by `predict` or as data: pip install pillow")


def _examine_missing(report):
    """Everything that is missing, with its commands in one line."""
    missing = _missing.find()
    if report["runtime_only"]:
        report["advice"].append(
            "runtime only: nets that were saved run, and MXNet, which trains and freezes them, is "
            f"not installed; for that: {missing.cure()}"
        )
        modules = [module for module in missing.modules if module in _missing.FOR_RUNTIME]
        missing = _missing.Missing(modules, [], missing.compiler and bool(modules))
    report["missing"] = missing._asdict()
    if missing.modules or missing.libraries:
        report["problems"].append(str(missing))


def _version(package):
    """The version of a package, "unknown" where it has no metadata, None where it is not there."""
    try:
        return _missing.installed(package) or ("unknown" if importlib.util.find_spec(package) else None)
    except Exception:  # metadata that cannot be read, or None in sys.modules
        return None


def _examine_imports(report):
    """Imports what has to be there, unless doing so ended another process."""
    missing = report["missing"]["modules"]
    needed = [package for package in MODULES if not report["runtime_only"] or package in _missing.FOR_RUNTIME]
    role = os.environ.get("DMLC_ROLE")
    with_mxnet = not report["runtime_only"] and role not in ("server", "scheduler")
    stages = {package: f"import {MODULES[package]}" for package in needed if package not in sys.modules}
    stages[LIBRARY] = "from gluon_bnn.native import library; library.available()"
    if with_mxnet and "mxnet" not in sys.modules:
        stages.update({"mxnet": "from gluon_bnn._compat import mx", OPERATORS: "library.load_operators()"})
    report["crashes"] = _crashes(stages)
    for name, end in report["crashes"].items():
        if name in (LIBRARY, OPERATORS):
            cure = library.advice()
        else:
            sys.modules[name] = None  # whoever imports it now gets an ImportError
            cure = _missing.reinstall(name)
        report["problems"].append(f"loading {name} {end}: {cure}")
    for package in needed:
        report["imports"][package] = not {package} & {*missing, *report["crashes"]} and _can_import(package, report)
        if not report["imports"]["numpy"]:
            return  # whatever imports NumPy would only say the same again
    if with_mxnet:
        named = {"mxnet", "requests", "distutils"} & {*missing, *report["crashes"]} or report["missing"]["libraries"]
        report["imports"]["mxnet"] = not named and _can_import_mxnet(report)
    elif not report["runtime_only"]:
        sys.modules.setdefault("mxnet", None)
        report["problems"].append(
            f"DMLC_ROLE={role} makes the import of MXNet the {role} of a distributed job, until "
            "that job ends: unset DMLC_ROLE"
        )


def _crashes(stages):
    """{name: what it does} of those stages, {name: statement}, that end a process of Python, or do not end at all."""
    crashes = {}
    while True:
        code = f"import sys\nsys.path[:] = {sys.path!r}\n"
        code += "".join(f"sys.modules[{name!r}] = None\n" for name in crashes)
        code += "".join(
            f"print({name!r}, flush=True)\ntry:\n    {statement}\nexcept BaseException:\n    pass\n"
            for name, statement in stages.items()
            if name not in crashes
        )
        try:
            done = subprocess.run(
                [sys.executable, "-c", code + "print('all', flush=True)"],
                timeout=TIMEOUT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            output, end = done.stdout, f"ends Python, {_ending(done.returncode)}"
        except subprocess.TimeoutExpired as expired:
            output, end = expired.stdout or b"", f"does not end within {TIMEOUT} seconds"
        begun = [line for line in output.decode(errors="replace").splitlines() if line in (*stages, "all")]
        if not begun or begun[-1] == "all":
            return crashes
        crashes[begun[-1]] = end


def _ending(code):
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _can_import(package, report):
    try:
        importlib.import_module(MODULES[package])
    except (Exception, SystemExit) as error:
        report["problems"].append(
            f"{package} is installed but cannot be imported ({_line(error)}): {_missing.reinstall(package)}"
        )
        return False
    return True


def _can_import_mxnet(report):
    try:
        _compat.mx
    except Exception as error:  # _compat has said in it what to do
        report["problems"].append(str(error))
    except SystemExit as error:
        report["problems"].append(_missing.explain(error))
    else:
        return True
    return False


def _examine_native(report):
    """Where the library is, whether it loads, by itself and into MXNet, and what it runs on."""
    report["native"]["library"] = library.path()
    if LIBRARY in report["crashes"]:
        return
    try:
        available = library.available()
    except ValueError as error:  # GLUON_BNN_ISA
        report["problems"].append(str(error))
        return
    if not available:
        missing = report["missing"]
        if not missing["libraries"] and not (missing["modules"] and missing["compiler"]):  # or one line has named it
            report["advice"].append(library.problem())
        return
    report["native"].update(
        instruction_set=library.instruction_set(), instruction_sets=list(library.instruction_sets())
    )
    if report["imports"].get("mxnet") and OPERATORS not in report["crashes"]:
        try:
            library.load_operators()
        except Exception as error:  # MXNet's own error types cannot be named before it is imported
            report["problems"].append(f"MXNet refuses the native library ({_line(error)}): {library.advice()}")


def _examine_choices(report):
    """Whether layers can be made with the operators that GLUON_BNN_OPS chooses."""
    if LIBRARY in report["crashes"] or OPERATORS in report["crashes"]:
        return  # it would end this process too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "auto" without the library, which has been reported
            ops.current()
    except (Exception, SystemExit) as error:  # others come from GLUON_BNN_ISA or MXNet, and have been reported
        if "GLUON_BNN_OPS" in str(error):
            report["problems"].append(f"{error}; unset GLUON_BNN_OPS for auto")
        elif isinstance(error, OSError) and not report["native"]["instruction_set"]:
            report["problems"].append(
                f"GLUON_BNN_OPS=native asks for the native library, but {error}; or unset GLUON_BNN_OPS"
            )


def _examine_data(report):
    """Where each data set is, and whether its files are whole."""
    given = os.environ.get("GLUON_BNN_DATA")
    if given and not os.path.isdir(given):
        report["advice"].append(
            f"GLUON_BNN_DATA={given} is no directory that can be read: unset it, or give one that "
            "holds mnist/ or digits/"
        )
    if report["runtime_only"]:
        return
    try:
        from . import data
    except Exception as error:
        if getattr(error, "name", None) not in report["missing"]["modules"]:  # or else that has been reported
            report["problems"].append(f"gluon_bnn.data cannot be imported ({_line(error)})")
        return
    for name in data.SETS:
        try:
            found = data.find(name)
        except Exception:  # its last root is MXNet's own, whose import has been reported
            found = None
        report["data"][name] = str(found) if found else None
        if found is not None:
            try:
                data.check(found, name)
            except Exception as error:
                report["problems" if name == "digits" else "advice"].append(
                    str(error) if isinstance(error, ValueError) else _line(error)
                )
    if report["data"]["digits"] is None:
        report["problems"].append(f"the embedded digits are missing: {_installation.find().command}")
    if report["data"]["mnist"] is None:
        report["advice"].append(
            'MNIST is not here: gluon_bnn.data.load("mnist") downloads it, or '
            "set GLUON_BNN_DATA to a directory whose mnist/ holds the files"
        )


def describe(report: dict) -> str:
    """The report as text."""
    package, threads, native = report["package"], report["threads"], report["native"]
    parts = {
        "package": {"imported from": package["path"], "installed": package["installed"]},
        "versions": {name: value or "not installed" for name, value in report["versions"].items()},
        "threads": {"cores to use": threads["cores"], "OMP_NUM_THREADS": threads["OMP_NUM_THREADS"] or "not set"},
        "native library": {
            "path": native["library"] or "not built",
            "instruction set": "{} (of {})".format(
                native["instruction_set"] or "-", ", ".join(native["instruction_sets"]) or "-"
            ),
        },
        "data": {name: value or "not found" for name, value in report["data"].items()},
    }
    lines = []
    for part, values in parts.items():
        lines += [part] + [f"  {name:16s}{value}" for name, value in values.items()]
    lines += [f"PROBLEM: {text}" for text in report["problems"]]
    lines += [f"advice: {text}" for text in report["advice"]]
    lines += [
        "something has to be done, see PROBLEM above"
        if not report["ok"]
        else "all is well, runtime only"
        if report["runtime_only"]
        else "all is well"
    ]
    return "\n".join(lines)
