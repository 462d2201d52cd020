"""Runs the command line, as ``python -m gradexp``."""

import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    with suppress(OSError):  # the current folder may have been deleted
        if not sys.flags.safe_path and sys.path[0] == os.getcwd():
            del sys.path[0]  # do not import modules from the current folder
    from gradexp.cli import main

    sys.exit(main())
