"""Says what this installation is made of, what is missing, and what to do about it."""
import os
import platform

from . import __version__, _compat
from .native import library


def examine():
    """The installation's state as a dict: "problems" stop it from working, "advice" does not."""
    report = {"versions": {"python": platform.python_version(), "gluon_bnn": __version__},
              "problems": [], "advice": []}
    for package in ("mxnet", "numpy", "scipy", "safetensors", "tqdm", "matplotlib", "setuptools"):
        report["versions"][package] = _compat.installed(package)
    for package in ("scipy", "safetensors", "tqdm"):  # of numpy and mxnet, their import below tells
        if report["versions"][package] is None:
            report["problems"].append(f"{package} is not installed: pip install {package}")
    try:
        _compat.mx
        importable = True
    except (ImportError, OSError) as error:  # _compat has said in it what to do
        report["problems"].append(str(error))
        importable = False
    except Exception as error:  # a report must come out, however MXNet's import failed
        report["problems"].append(_compat.explain(error))
        importable = False
    report["threads"] = {"cores": _compat.physical_cores(),
                         "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
    report["native"] = {"library": library.path(), "instruction_set": library.instruction_set(),
                        "instruction_sets": list(library.instruction_sets())}
    if not library.available():
        report["advice"].append(library.problem())
    elif importable:
        try:
            library.load_operators()
        except Exception as error:  # MXNet's own error types cannot be named before it is imported
            report["problems"].append(f"MXNet refuses the native library: {error}; "
                                      f"{library.ADVICE}")
    _examine_data(report)
    if report["versions"]["matplotlib"] is None:
        report["advice"].append("no matplotlib, so experiments draw no pictures: "
                                "pip install matplotlib")
    report["ok"] = not report["problems"]
    return report


def _examine_data(report):
    """Where each data set is, and whether its files are whole."""
    report["data"] = {}
    try:
        from . import data
    except ImportError as error:
        report["problems"].append(f"gluon_bnn.data cannot be imported: {error}")
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
            except (OSError, ValueError) as error:
                report["problems" if name == "digits" else "advice"].append(str(error))
    if report["data"]["digits"] is None:
        report["problems"].append("the embedded digits are missing: install gluon_bnn again")
    if report["data"]["mnist"] is None:
        report["advice"].append('MNIST is not here: gluon_bnn.data.load("mnist") downloads it, or '
                                "set GLUON_BNN_DATA to a directory whose mnist/ holds the files")


def describe(report):
    """The report as text."""
    lines = ["versions"]
    lines += [f"  {name:16s}{value or 'not installed'}"
              for name, value in report["versions"].items()]
    lines += ["threads", f"  cores to use    {report['threads']['cores']}",
              f"  OMP_NUM_THREADS {report['threads']['OMP_NUM_THREADS'] or 'not set'}",
              "native library", f"  path            {report['native']['library'] or 'not built'}",
              f"  instruction set {report['native']['instruction_set'] or '-'}"
              f" (of {', '.join(report['native']['instruction_sets']) or '-'})", "data"]
    lines += [f"  {name:16s}{value or 'not found'}" for name, value in report["data"].items()]
    lines += [f"PROBLEM: {text}" for text in report["problems"]]
    lines += [f"advice: {text}" for text in report["advice"]]
    lines += ["all is well" if report["ok"] else "something has to be done, see PROBLEM above"]
    return "\n".join(lines)
