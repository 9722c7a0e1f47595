"""Explains an event: which webhooks took it; and if none did, what each takes instead. Pure."""

from collections.abc import Iterator
from datetime import datetime

from dispatcher.event_types import subscriptions_taking
from dispatcher.states import State
from dispatcher.webhooks.explanation.situation import EventSituation, Subscriber
from dispatcher.webhooks.explanation.words import Code, Sentence, counted, listed, moment, plain, quoted, say


def explain_event(event: EventSituation, now: datetime) -> list[Sentence]:
    """The sentences, the most important one first. Its deliveries have their own."""
    if event.is_erased:
        text = "Its message and subject were erased for good: nothing of it is sent any more."
        return [say(Code.MESSAGE_ERASED, text), *([_taken(event)] if event.delivery_count else [])]
    if event.delivery_count:
        return [_taken(event)]
    said = [_not_taken(event), *([_sent_since(event)] if event.states else [])]
    said += [_what_it_takes(event, webhook, now) for webhook in event.subscribers]
    if event.has_more:
        text = f"The account has more webhooks: only the newest {len(event.subscribers)} are told of here."
        said.append(say(Code.MORE_WEBHOOKS, text, shown=len(event.subscribers)))
    return [*said, *_what_can_be_done(event)]


def _taken(event: EventSituation) -> Sentence:
    counts, seen, states = event.states, sum(event.states.values()), _in_states(event)
    whose = "its deliveries" if seen >= event.delivery_count else f"of its deliveries {seen:,} are counted here"
    many = counted(event.delivery_count, "webhooks")
    text = f"{many} took it when it was stored" + (f"; {whose}: {states}." if states else ".")
    return say(
        Code.WEBHOOKS_TOOK_IT, text, webhooks=event.delivery_count, **{str(state): counts[state] for state in counts}
    )


def _sent_since(event: EventSituation) -> Sentence:
    many = counted(sum(event.states.values()), "webhooks")
    text = f"Since then it was sent to {many}: {_in_states(event)}."
    return say(Code.SENT_SINCE, text, **{str(state): count for state, count in event.states.items()})


def _in_states(event: EventSituation) -> str:
    return ", ".join(f"{event.states[state]:,} {state}" for state in State if state in event.states)


def _not_taken(event: EventSituation) -> Sentence:
    app = f" and app {quoted(event.app)}" if event.app is not None else ""
    nothing = " Nothing is sent." if not event.states else ""
    if not event.subscribers:
        text = f"No webhook took it, because the account has none.{nothing}"
        return say(Code.NO_WEBHOOKS, text, type=event.type, app=event.app)
    text = f"No webhook took it when it was stored: none took type {plain(event.type)}{app}.{nothing}"
    return say(Code.NO_WEBHOOK_TOOK_IT, text, type=event.type, app=event.app)


def _what_it_takes(event: EventSituation, webhook: Subscriber, now: datetime) -> Sentence:
    who = f"Webhook {quoted(webhook.name or webhook.url_masked)}"
    types = listed(webhook.event_types) or "nothing"
    parameters = {"webhook_id": webhook.id, "event_types": webhook.event_types[:100], "app": webhook.app}
    if not set(webhook.event_types) & set(subscriptions_taking(event.type)):
        return say(Code.TAKES_OTHER_TYPES, f"{who} takes {types}.", **parameters)
    if webhook.app is not None and webhook.app != event.app:
        text = f"{who} takes {types}, but only of app {quoted(webhook.app)}."
        return say(Code.TAKES_OTHER_APP, text, **parameters)
    if webhook.created_at > event.created_at:
        text = f"{who} takes {types}, but was made later, at {moment(webhook.created_at, now)}."
        return say(Code.MADE_LATER, text, created_at=webhook.created_at, **parameters)
    text = f"{who} takes it now, but did not when the event was stored."
    return say(Code.TAKES_IT_NOW, text, **parameters)


def _what_can_be_done(event: EventSituation) -> Iterator[Sentence]:
    if event.nearest_types:
        text = f"Perhaps its type is misspelt. The most similar ones: {listed(event.nearest_types)}."
        yield say(Code.NEAREST_TYPES, text, types=event.nearest_types)
    text = "To have such events delivered, let a webhook take their type."
    yield say(Code.CAN_SUBSCRIBE, text, type=event.type)
    if any(webhook.app in {None, event.app} for webhook in event.subscribers):
        yield say(Code.CAN_SEND, "This one can be sent to a webhook all the same.", event_id=event.id)
