"""python -m gluon_bnn COMMAND: see cli/."""

import os
import sys

from .cli import INTERRUPTED, main

if __name__ == "__main__":
    code = main()
    if code == INTERRUPTED:
        # Where Ctrl-C came in what `exec` runs, as in the import of MXNet, Python would end itself by its signal.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
