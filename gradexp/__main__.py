"""``python -m gradexp``."""

import sys

from gradexp.cli import main

if __name__ == "__main__":
    sys.exit(main())
