"""Files that settings name."""

from pathlib import Path


def check_readable(path: str, what: str) -> None:
    """Raises ValueError, which begins with `what`, if this process cannot read the file."""
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise ValueError(f"{what} cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError:  # a NUL in it
        raise ValueError(f"{what} cannot be read") from None
