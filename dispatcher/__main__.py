"""`python -m dispatcher` is the command line. Where only the producers' distribution is installed, it says so."""

import sys

try:
    from dispatcher.cli import main
except ModuleNotFoundError as missing:
    if missing.name != "dispatcher.cli":
        raise
    sys.exit("Error: the command line belongs to dispatcher-engine, and only dispatcher-producer is installed here")

main()
