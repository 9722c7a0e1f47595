"""`python -m tests.faults.poisonable -A workers worker ...` is `celery` with workers that fall for poison."""

import sys

from celery.__main__ import main

from tests.faults import poison

if __name__ == "__main__":
    poison.install()
    sys.exit(main())
