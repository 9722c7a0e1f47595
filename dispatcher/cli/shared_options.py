"""Options that several commands have."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from dispatcher.cli.times import read_time


def _time(text: str) -> datetime:
    return read_time(text, now=datetime.now(UTC))


_TIMES = "2025-01-31, 2025-01-31T18:00, 15m, 2d"

Since: TypeAlias = Annotated[
    datetime | None, typer.Option("--since", metavar="TIME", parser=_time, help=f"Since this time: {_TIMES}")
]
FromSince: TypeAlias = Annotated[
    datetime, typer.Option("--since", metavar="TIME", parser=_time, help="Since this time: 2025-01-31, 15m, 2d")
]
Until: TypeAlias = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=_time, help="Until this time; UTC unless it has an offset"),
]
Before: TypeAlias = Annotated[
    UUID | None, typer.Option("--before", metavar="ID", help="Only older than this, the last id of a page")
]
Limit: TypeAlias = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most this many")]
PAGE = 50  # the default of Limit

OfAccount: TypeAlias = Annotated[str, typer.Option("--account", metavar="NAME", help="The account, by name or id")]
AnyAccount: TypeAlias = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Only of this account (name or id)")
]
AnyWebhook: TypeAlias = Annotated[
    str | None, typer.Option("--webhook", metavar="NAME", help="Only of this webhook (name or id)")
]
WebhookName: TypeAlias = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its name or id")]
Quarantined: TypeAlias = Annotated[bool, typer.Option("--quarantined", help="Only quarantined ones")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")]
