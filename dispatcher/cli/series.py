"""`dispatcher series`: what came of requests over time."""

from typing import Annotated

import typer

from dispatcher.accounts.owners import owner_of_webhook
from dispatcher.cli.help_page import Commands
from dispatcher.cli.installed import installation_of
from dispatcher.cli.names import account_of, webhook_id
from dispatcher.cli.output import AsJson, print_fields, print_json, print_section, print_table
from dispatcher.cli.shared_options import AnyAccount, AnyWebhook, Since, Until
from dispatcher.webhooks.contract import Verdict
from dispatcher.webhooks.pulses.outcomes import ALL
from dispatcher.webhooks.pulses.reading import series as read_series
from dispatcher.webhooks.pulses.recent import recent_of
from dispatcher.webhooks.pulses.series import PERCENTS, Counts, shown_series
from dispatcher.webhooks.pulses.steps import Step, Times
from dispatcher.webhooks.store import Webhooks

app = Commands()

_COLUMNS = ("time", "requests", "messages", *Verdict, *(f"p{percent} ms" for percent in PERCENTS))


@app.command(epilog="Example: dispatcher series --webhook orders --since 7d --step 1h")
def series(
    context: typer.Context,
    *,
    webhook: AnyWebhook = None,
    account: AnyAccount = None,
    since: Since = None,
    until: Until = None,
    step: Annotated[Step | None, typer.Option(help="How far apart the points are, else by the length")] = None,
    json: AsJson = False,
) -> None:
    """Show what came of requests over time.

    Of a webhook, an account or the whole installation: how many there were, with which verdict, and about how long
    answers took. The last 24 hours, unless other times are given; all times are UTC.
    """
    installation = installation_of(context)
    now = installation.clock()
    times = Times.of(now, since, until, step)
    of_id = webhook_id(installation, webhook, account) if webhook is not None else ALL
    with installation.transaction() as session:
        owner = account_of(session, account, deleted=True) if account is not None else None
        if of_id != ALL:
            Webhooks(session, installation).get(owner or owner_of_webhook(session, of_id), of_id, deleted=True)
        elif owner is not None:
            of_id = owner.id
        found = read_series(session, recent_of(installation), of_id, times, now, exact=True)
    document = shown_series(found)
    if json:
        print_json(document)
        return
    print_table(_COLUMNS, [(point.starts_at, *_cells(point.counts)) for point in found.points])
    print_section("All of it")
    outcomes = {outcome: f"{counted.requests:,}" for outcome, counted in found.total.outcomes.items()}
    print_fields({**dict(zip(_COLUMNS[1:], _cells(found.total), strict=True)), **outcomes})
    print_fields({"counted to": found.counted_to})


def _cells(counts: Counts) -> list[str]:
    verdicts = [counts.with_verdict(verdict) for verdict in Verdict]
    times = counts.answer_times
    about = [f"{ms:,.0f}" if (ms := times.percentile_ms(percent)) is not None else "" for percent in PERCENTS]
    return [*(f"{count:,}" for count in (counts.requests, counts.messages, *verdicts)), *about]
