"""`python -m streamlake`."""

from streamlake.entrypoints.cli import main

main()
