"""`python -m dispatcher.cli` is the command line."""

from dispatcher.cli import main

main()
