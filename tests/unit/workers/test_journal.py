"""What is left of a loop in its journal, read as its successor does."""

import mmap

from hypothesis import given
from hypothesis import strategies as st

from tests.claims import CLAIM
from workers.claims.claims import Claim
from workers.journal import Journal, Left

OWNER = CLAIM.event_id
CLAIMS = [
    CLAIM._replace(delivery_id=f"018f0000-0000-7000-8000-{n:012}", number=n + 1, webhook_id=str(n)) for n in range(300)
]


def attempts(claims: list[Claim]) -> frozenset[tuple[str, int]]:
    return frozenset((claim.delivery_id, claim.number) for claim in claims)


def journals() -> tuple[Journal, Journal]:
    """A loop's and its successor's."""
    memory = mmap.mmap(-1, 64 * 1024)
    return Journal(memory), Journal(memory)


def test_nothing_is_left_of_a_loop_that_has_ended_or_never_began() -> None:
    journal, successor = journals()
    assert successor.left() is None
    journal.begin(OWNER)
    assert successor.left() == Left(OWNER, False, frozenset(), frozenset())
    journal.end()
    assert successor.left() is None


def test_it_tells_what_was_sent_what_was_handled_and_whether_claims_were_prepared() -> None:
    journal, successor = journals()
    journal.begin(OWNER)
    journal.claiming(now=True)
    assert successor.left() == Left(OWNER, True, frozenset(), frozenset())
    journal.claiming(now=False)
    journal.handle(CLAIMS[:100])
    assert successor.left() == Left(OWNER, False, frozenset(), attempts(CLAIMS[:100]))
    journal.sent(CLAIMS[:100])
    journal.handle(CLAIMS[100:101])
    assert successor.left() == Left(OWNER, False, attempts(CLAIMS[:100]), attempts(CLAIMS[100:101]))
    journal.handled()
    journal.remove(CLAIMS[:99])
    assert successor.left() == Left(OWNER, False, attempts(CLAIMS[99:100]), frozenset())


def test_the_next_loop_begins_with_an_empty_one() -> None:
    journal, successor = journals()
    journal.begin(OWNER)
    journal.handle(CLAIMS[:3])
    journal.sent(CLAIMS[:3])
    successor.was_stuck()
    assert successor.left() == Left(OWNER, False, attempts(CLAIMS[:3]), attempts(CLAIMS[:3]), stuck=True)
    successor.begin(CLAIM.delivery_id)
    assert successor.left() == Left(CLAIM.delivery_id, False, frozenset(), frozenset())


@given(st.lists(st.tuples(st.sampled_from(["handle", "send", "remove"]), st.integers(0, 20)), max_size=60))
def test_places_are_used_again_and_never_mixed_up(steps: list[tuple[str, int]]) -> None:
    journal, successor = journals()
    journal.begin(OWNER)
    known: set[int] = set()
    sent: set[int] = set()
    for step, n in steps:
        match step:
            case "handle" | "send":
                journal.handle(CLAIMS[n : n + 1])
                known.add(n)
                if step == "send":
                    journal.sent(CLAIMS[n : n + 1])
                    sent.add(n)
            case "remove":
                journal.handled()
                journal.remove(CLAIMS[n : n + 1])
                known.discard(n)
                sent.discard(n)
        left = successor.left()
        assert left is not None
        assert left.sent == attempts([CLAIMS[n] for n in sent])
    room = journal.room
    journal.remove(CLAIMS)
    assert journal.room - room == len(known)
