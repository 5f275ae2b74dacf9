"""`python -m fusionseg.cli`, as torchrun and accelerate want it."""

import sys

from fusionseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
