"""Takes the event of a request's body."""

from starlette.concurrency import run_in_threadpool

from dispatcher.accounts.api_keys import Caller
from dispatcher.api.events.bodies import read_event
from dispatcher.api.events.documents import AcceptedEvent
from dispatcher.events.aenqueue import enqueue_checked
from dispatcher.events.storing import CheckedEvent
from dispatcher.web.serving import Serving

LARGE = 16 * 1024  # bytes of a body


async def take_event(
    caller: Caller, serving: Serving, body: bytes, idempotency_key: str | None, traceparent: str | None
) -> AcceptedEvent:
    """Stores it. Raises Problem, and what `aenqueue` raises."""
    if len(body) > LARGE:
        item = await _read_in_turn(caller, serving, body, idempotency_key, traceparent)
    else:
        item = read_event(caller, body, idempotency_key, traceparent)
    return AcceptedEvent.model_validate(await enqueue_checked(item, serving.installation))


async def _read_in_turn(
    caller: Caller, serving: Serving, body: bytes, idempotency_key: str | None, traceparent: str | None
) -> CheckedEvent:
    """Reads a large one in a thread, one of its account at a time: each may take many milliseconds, for which the event
    loop would do nothing else, and all that come at once would be read one after the other before anybody else has a
    turn. Raises TooBusy if too many bytes of the account wait."""
    place = str(caller.account_id), len(body)
    serving.large_events.enter(*place)
    try:
        async with serving.large_event_turns.turn(caller.account_id, begun=True):
            return await run_in_threadpool(read_event, caller, body, idempotency_key, traceparent)
    finally:
        serving.large_events.leave(*place)
