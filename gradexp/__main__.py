"""``python -m gradexp``."""

import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    with suppress(OSError):  # the folder was deleted
        if not sys.flags.safe_path and sys.path[0] == os.getcwd():
            del sys.path[0]  # nothing is imported from the folder that it is started in
    from gradexp.cli import main

    sys.exit(main())
