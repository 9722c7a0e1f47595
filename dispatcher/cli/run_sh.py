"""`python -m dispatcher.cli.run_sh NAME ARGUMENT...` is the command line under the name that run.sh was called by."""

import sys

from dispatcher.cli import main

main(sys.argv.pop(1))
