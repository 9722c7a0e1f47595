import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from dispatcher.ids import first_id_at, new_id, time_of


def test_an_id_is_a_uuid_of_version_7() -> None:
    identifier = new_id()
    assert (identifier.version, identifier.variant) == (7, "specified in RFC 4122")


def test_ids_tell_when_they_were_made() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = time_of(new_id())
    assert before <= made <= datetime.now(UTC)


def test_ids_differ_even_in_one_millisecond() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_ids_made_at_least_a_microsecond_apart_sort_in_the_order_of_their_making() -> None:
    made = []
    for _ in range(1_000):
        made.append(new_id())
        until = time.time_ns() + 1_000
        while time.time_ns() < until:
            pass
    assert made == sorted(made)


def test_before_1970_everything_is_still_to_come() -> None:
    assert first_id_at(datetime(1, 1, 1, tzinfo=UTC)) == first_id_at(datetime(1970, 1, 1, tzinfo=UTC)) == UUID(int=0)
    assert first_id_at(datetime.max.replace(tzinfo=UTC)) > new_id()


def test_a_boundary_is_below_every_id_of_its_moment_and_above_those_before() -> None:
    identifier = new_id()
    moment = time_of(identifier)
    assert first_id_at(moment) <= identifier < first_id_at(moment + timedelta(milliseconds=1))


def test_before_there_were_ids_the_boundary_is_the_smallest_of_all() -> None:
    assert first_id_at(datetime(1, 1, 1, tzinfo=UTC)).int == 0
    assert first_id_at(datetime(9999, 12, 31, tzinfo=UTC)) > new_id()
