"""`python -m voxtral`."""

import sys

from voxtral.cli import main

if __name__ == "__main__":
    sys.exit(main())
