"""How a call ends. What goes wrong is reported on standard error in one or two lines; only a defect has a traceback.
The exit status says how the call ended."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import typer
from pydantic import ValidationError

from dispatcher.cli.help_page import choices_of, name_of
from dispatcher.cli.output import print_error, print_line
from dispatcher.errors import AddressRefused, DispatcherError, InvalidWebhook
from dispatcher.masking.refusals import refusal
from dispatcher.masking.terminal import safe_text

DONE, REFUSED, USAGE, INTERRUPTED, NOBODY_READS = 0, 1, 2, 130, 141

# Errors of writing to a full or broken output. Those of files and networks are handled where these are used.
_NO_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def prepare_streams() -> None:
    """Escapes what a terminal or file cannot show. Input is UTF-8 in every locale."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")


def status_of(call: Callable[[], None]) -> int:
    """Calls, reports what went wrong, and returns the exit status. All output is flushed by then."""
    try:
        status = _status_of(call)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return NOBODY_READS
    except OSError as error:
        if error.errno not in _NO_OUTPUT:
            raise
        _forget_output()
        with suppress(OSError):
            print_error(f"cannot write the output: {error.strerror}")
        return REFUSED
    return status


def _status_of(call: Callable[[], None]) -> int:
    try:
        call()
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except (typer.Abort, EOFError, typer.TyperException, DispatcherError, UnicodeEncodeError) as error:
        return _explained(error)
    return DONE


def _explained(error: Exception) -> int:
    if isinstance(error.__context__, KeyboardInterrupt):  # at a prompt
        return INTERRUPTED
    status = REFUSED
    match error:
        case DispatcherError():
            print_error(f"{error.field} {error.exact_reason}" if isinstance(error, InvalidWebhook) else str(error))
            for note in getattr(error, "__notes__", ()):
                print_line(note, stderr=True)
        case UnicodeEncodeError():
            print_error("an argument contains bytes that are not UTF-8")
        case typer.TyperException():
            _print_usage_error(error)
            status = int(error.exit_code)
        case _:
            print_error("stopped: nothing was changed")
    if AddressRefused in (type(error), type(error.__cause__)):
        from dispatcher.cli.engine import how_to_allow

        print_line(how_to_allow(), stderr=True)
    return status


def _print_usage_error(error: Any) -> None:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.message, err=True)  # the help page
        return
    print_error(safe_text(_words(error)))
    if context is not None:
        print_line(f"All options: {context.command_path} -h", stderr=True)


def _words(error: Any) -> str:
    parameter = getattr(error, "param", None)
    place = getattr(error, "param_hint", None) or (name_of(parameter) if parameter is not None else None)
    if place is None:
        return str(error.message)
    if type(error).__name__ == "MissingParameter":
        return f"{place} is required"
    if isinstance(error.__cause__, ValidationError):
        choices = choices_of(parameter)
        reason = f"must be one of: {', '.join(choices)}" if choices else refusal(error.__cause__.errors()[0])
        return f"{place} {reason}"
    return f"{place} {error.message}"


def _forget_output() -> None:
    """Discards unwritten output. The interpreter would try to write it at exit, and complain."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
