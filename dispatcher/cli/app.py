"""The command line as a whole: its commands, and the installation that they use."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from dispatcher.cli.command_tree import PANELS, RUN_SH, LoadedWhenUsed
from dispatcher.cli.failures import prepare_streams, status_of
from dispatcher.cli.help_page import PROGRAM, Group
from dispatcher.cli.installed import Installed
from dispatcher.version import __version__


class _Root(Group):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = LoadedWhenUsed({word: entry for words in PANELS.values() for word, entry in words.items()})  # type: ignore[assignment]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.panels = {
            name: {word: entry.about.rstrip(".") for word, entry in words.items()} for name, words in PANELS.items()
        }
        if ctx.info_name != PROGRAM:  # run.sh names itself
            self.panels |= {"This checkout": RUN_SH}
        super().format_help(ctx, formatter)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **__: Any) -> NoReturn:
        program = prog_name or PROGRAM
        prepare_streams()
        self._main_shell_completion({}, PROGRAM, None)
        sys.exit(status_of(lambda: self._call(program, list(sys.argv[1:] if args is None else args))))

    def _call(self, program: str, args: list[str]) -> None:
        with self.make_context(program, args) as context:
            self.invoke(context)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            outage = ctx.obj.explain(error) if ctx.obj is not None else None
            if outage is None:
                raise
            raise typer.TyperException(outage) from None


app = typer.Typer(
    cls=_Root,
    help="Self-hosted webhook delivery: accounts, webhooks, events and deliveries.",
    epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage, 130 stopped by Ctrl-C (`up`, `listen` and"
    " `status --watch`: 0).\n\n"
    f"Settings are environment variables: {PROGRAM} settings shows them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    # A traceback that shows local variables would show secrets.
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    context.obj = installed = Installed(make_installation)
    context.call_on_close(installed.close)


def make_installation() -> Any:
    """The installation that the environment's settings describe."""
    from dispatcher.db.engines import MAINTENANCE
    from dispatcher.installation import Installation
    from dispatcher.settings import read_settings

    return Installation(read_settings(), limits=MAINTENANCE)
