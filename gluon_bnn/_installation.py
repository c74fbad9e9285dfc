"""Which copy of this package is running, how it was installed, and the command that installs it again."""

import importlib.metadata
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional
from urllib.parse import unquote, urlsplit


class Installation(NamedTuple):
    """The copy that is running.

    package : its directory
    how : "editable", "installed" (a wheel, unpacked in site-packages), "checkout" (run from its sources), or "copy"
        (neither installed nor in a checkout)
    source : the checkout that it was installed from or that it is, or None
    hidden : the directory of an installed copy that would run if this one did not come first, or None
    """

    package: Path
    how: str
    source: Optional[Path]
    hidden: Optional[Path]

    @property
    def command(self) -> str:
        """What installs this copy again, from its sources."""
        editable = "-e " if self.how in ("editable", "checkout") else ""
        where = shlex.quote(str(self.source)) if self.source else "."
        command = f"pip install --force-reinstall --no-deps {editable}{where}"
        return command if self.source else f"{command} (in a checkout of gluon_bnn)"

    @property
    def why_hidden(self) -> str:
        """Why this copy comes before the hidden one, and how to run that."""
        directory = self.package.parent
        if os.path.samefile(os.curdir, directory):
            reason, cure = "it lies in the current directory", "start Python in another directory"
        elif any(
            os.path.exists(entry) and os.path.samefile(entry, directory)
            for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        ):
            reason, cure = "PYTHONPATH names its directory", "unset PYTHONPATH"
        else:
            reason, cure = "its directory comes first in sys.path", f"take {directory} out of sys.path"
        return (
            f"{self.package} runs in place of the installed copy {self.hidden}, because {reason}: to run that, {cure}"
        )

    def __str__(self):
        return {
            "editable": f"editable, from {self.source}",
            "installed": "as a wheel" + (f", built from {self.source}" if self.source else ""),
            "checkout": f"no, it is the checkout {self.source}",
            "copy": "no, it is a copy of the package",
        }[self.how]


def find() -> Installation:
    """The installation of the running copy, from the metadata that pip keeps."""
    package = Path(__file__).resolve().parent
    installed = list(_installed())
    for copy in installed:
        if copy.package == package:
            return copy
    hidden = installed[0].package if installed else None
    if _is_checkout(package.parent):
        return Installation(package, "checkout", package.parent, hidden)
    return Installation(package, "copy", None, hidden)


def _installed() -> Iterator[Installation]:
    """All installed copies, in the order in which Python would find them."""
    for distribution in importlib.metadata.distributions(name="gluon-bnn"):
        try:
            if distribution.read_text("METADATA") is None:
                continue  # not an installed one, but the egg-info that a build leaves in a checkout
            origin = json.loads(distribution.read_text("direct_url.json") or "{}")
            url, editable = urlsplit(origin.get("url", "")), origin.get("dir_info", {}).get("editable", False)
            source = Path(unquote(url.path)).resolve() if url.scheme == "file" else None
        except (ValueError, AttributeError, OSError):  # not what pip writes: as if it were not there
            source = editable = None
        if source and not _is_checkout(source):  # a wheel's file, or it is gone
            source = None
        if editable and source:
            yield Installation(source / "gluon_bnn", "editable", source, None)
        else:
            yield Installation(Path(str(distribution.locate_file("gluon_bnn"))).resolve(), "installed", source, None)


def _is_checkout(directory):
    return (directory / "setup.py").is_file()
