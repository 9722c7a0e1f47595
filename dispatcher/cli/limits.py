"""`dispatcher account limits` and `usage`: what an account may have and do, and what it has used of that."""

from typing import Annotated

import typer

from dispatcher.accounts.limits import own_limits, set_limits
from dispatcher.accounts.rate_counts import RateCounts
from dispatcher.accounts.usage import COUNTED, Use, use_of
from dispatcher.cli.accounts import AccountName
from dispatcher.cli.actor import this_user
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of
from dispatcher.cli.output import AsJson, at_least, print_json, print_table
from dispatcher.settings.quotas import KINDS, OFF, limits_of, read_limits

app = Commands()

_DEFAULT = "default"


@app.command(epilog="Example: dispatcher account limits acme --set webhooks=5000 --set events_per_day=off")
def limits(
    context: typer.Context,
    name: AccountName,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="LIMIT=NUMBER", help=f"Also LIMIT={OFF}: none; LIMIT={_DEFAULT}: as usual here"),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show or set the limits of an account.

    Without --set it shows all of them. What the account has above a new limit it keeps.
    """
    ends = f"={_DEFAULT}"
    to_default = [f"{change.removesuffix(ends)}={OFF}" for change in changes or [] if change.endswith(ends)]
    to_value = [change for change in changes or [] if not change.endswith(ends)]
    try:
        removed, changed = frozenset(read_limits(",".join(to_default))), read_limits(",".join(to_value))
        if removed & changed.keys():
            raise ValueError("must not name a limit twice")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from None
    installation = installation_of(context)
    with installation.transaction() as session:
        account = account_of(session, name)
        if changes:
            set_limits(session, account, by=this_user(), changed=changed, dropped=removed)
        own, all_of_them = own_limits(account), limits_of(account.limits, installation.settings.default_limits)
    if json:
        print_json({"account": account.name, "own": own, "limits": all_of_them})
        return
    print_table(
        ["limit", "value", "of", "set for"],
        [
            (
                quota,
                OFF if limit is None else f"{limit:,}",
                KINDS[quota].unit,
                "this account" if quota in own else "all accounts",
            )
            for quota, limit in all_of_them.items()
        ],
    )


@app.command(epilog="Example: dispatcher account usage acme")
def usage(context: typer.Context, name: AccountName, json: AsJson = False) -> None:
    """Show what an account has used of its limits.

    Rates are those of this moment, over HTTP with the account's keys.
    """
    installation = installation_of(context)
    defaults = installation.settings.default_limits
    with installation.transaction() as session:
        account = account_of(session, name)
    counts = RateCounts(installation.settings.broker_url.get_secret_value())
    rates = counts.used(account.id, limits_of(account.limits, defaults))
    counts.close()
    with installation.transaction() as session:
        uses = use_of(session, account, defaults, rates)
    if json:
        quotas = [{"quota": use.quota, "unit": use.unit, **use._asdict()} for use in uses]
        print_json({"account": account.name, "quotas": quotas})
        return
    print_table(
        ["limit", "used", "of", "", "counted at"],
        [
            (use.quota, _used(use), OFF if use.limit is None else f"{use.limit:,}", use.unit, use.counted_at)
            for use in uses
        ],
    )


def _used(use: Use) -> str:
    return "not known" if use.used is None else at_least(use.used, complete=use.used != COUNTED)
