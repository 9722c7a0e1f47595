"""What a soak says of quantities that grow, stay, or come and go."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from dispatcher.db.models import Base
from tests.faults.soak.growth import WARM_UP_SECONDS, Grown, Sample, after_warm_up, bytes_an_event, growth
from tests.faults.soak.quantities import HISTORY, LIMITS, MB, OF_OPEN_ROWS, Kind, is_history
from tests.faults.soak.report import table

HOUR = 3600.0
TABLE_OF = {"deliveries_pkey": "deliveries", "deliveries_ready_idx": "deliveries", "tokens_pkey": "tokens"}
MEMORY = "memory: deliver 1"


def samples(name: str, value: Callable[[float], float], seconds: float = HOUR) -> list[Sample]:
    return [Sample(float(at), {name: value(at)}) for at in range(5, int(seconds) + 1, 5)]


def grown(name: str, value: Callable[[float], float], seconds: float = HOUR) -> Grown:
    (only,) = growth(samples(name, value, seconds), TABLE_OF)
    return only


def test_a_leak_is_too_much_and_its_growth_is_told_for_an_hour() -> None:
    leak = grown(MEMORY, lambda at: 60 * MB + 20 * MB * at / HOUR)
    assert leak.an_hour == pytest.approx(20 * MB)
    assert leak.too_much


def test_what_grows_by_less_than_it_may_is_no_leak() -> None:
    assert not grown(MEMORY, lambda at: 60 * MB + 5 * MB * at / HOUR).too_much


def test_what_grows_in_the_warm_up_only_is_none() -> None:
    warm = grown(MEMORY, lambda at: 60 * MB + 50 * MB * min(at, WARM_UP_SECONDS) / WARM_UP_SECONDS)
    assert (warm.by, warm.too_much) == (0, False)


def test_what_grew_once_and_stays_is_none() -> None:
    step = grown(MEMORY, lambda at: 80 * MB if at > 1700 else 60 * MB)
    assert step.by == 20 * MB
    assert not step.too_much


def test_a_step_in_the_last_third_is_told() -> None:
    assert grown(MEMORY, lambda at: 80 * MB if at > 2700 else 60 * MB).too_much


def test_what_comes_and_goes_is_none() -> None:
    assert not grown("dead rows: deliveries", lambda at: at % 60 * 1_000).too_much
    assert not grown("open files: deliver 1", lambda at: 200 if at % 60 >= (35 if at < 2000 else 25) else 80).too_much


def test_what_shrinks_is_none() -> None:
    assert not grown(MEMORY, lambda at: 90 * MB - 30 * MB * at / HOUR).too_much


def test_a_large_quantity_may_grow_by_a_share_of_it() -> None:
    index = "index: deliveries_ready_idx"
    assert grown(index, lambda at: 10 * MB + 12 * MB * at / HOUR).too_much
    assert not grown(index, lambda at: 40 * MB + 12 * MB * at / HOUR).too_much


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.RATE, Kind.MEMORY_IN_ALL}])
def test_each_kind_has_a_limit_that_growth_can_pass(kind: Kind) -> None:
    name = f"{kind}: tokens_pkey" if kind is Kind.INDEX else f"{kind}: tokens"
    step = max(LIMITS[kind].amount, 1) * 4
    assert grown(name, lambda at: step * at / HOUR).too_much


def test_how_much_is_done_is_shown_but_not_judged() -> None:
    assert not grown("a second: events in", lambda at: at).too_much


@pytest.mark.parametrize("name", ["table: deliveries", "index: deliveries_pkey"])
def test_tables_that_keep_what_happened_grow_by_design(name: str) -> None:
    assert not grown(name, lambda at: MB * at).too_much


def test_indexes_of_what_is_still_to_be_done_do_not() -> None:
    assert grown("index: deliveries_ready_idx", lambda at: MB * at).too_much
    assert not is_history("memory: deliveries", TABLE_OF)


def test_tables_and_indexes_that_are_named_exist() -> None:
    tables = {mapped.name: mapped for mapped in Base.metadata.sorted_tables}
    assert tables.keys() >= HISTORY
    indexes = {str(index.name): index for name in HISTORY for index in tables[name].indexes}
    assert indexes.keys() >= OF_OPEN_ROWS
    assert all(indexes[name].dialect_kwargs["postgresql_where"] is not None for name in OF_OPEN_ROWS)


def test_a_process_that_came_or_went_is_compared_with_nothing() -> None:
    kept = samples(MEMORY, lambda _: MB)
    gone = [Sample(s.at, {**s.values, **({"memory: old": 1.0} if s.at < 2000 else {})}) for s in kept]
    assert [one.name for one in growth(gone, TABLE_OF)] == [MEMORY]


def test_the_first_ten_minutes_or_third_are_left_out() -> None:
    assert after_warm_up(samples(MEMORY, lambda _: 0))[0].at == 600
    assert after_warm_up(samples(MEMORY, lambda _: 0, 300))[0].at == 100
    with pytest.raises(ValueError, match="three samples"):
        growth([], TABLE_OF)


def test_bytes_of_an_event_are_counted_over_all_that_grows_by_design() -> None:
    sizes = {"table: deliveries": 1000.0, "index: deliveries_pkey": 100.0, "index: deliveries_ready_idx": 7.0}
    taken = [Sample(at, {name: size * at for name, size in sizes.items()}) for at in (10.0, 20.0, 30.0, 40.0)]
    assert bytes_an_event(taken, {20.0: 200, 40.0: 240}, TABLE_OF) == 1100 * 20 / 40


def test_the_table_shows_units_what_is_too_much_and_what_grows_by_design() -> None:
    found = [
        grown(MEMORY, lambda at: 60 * MB + 20 * MB * at / HOUR),
        grown("table: deliveries", lambda at: 10 * MB * at),
        grown("index: deliveries_ready_idx", lambda at: 8192.0),
    ]
    head, memory, rows = table(found)
    assert head.split() == ["first", "third", "median", "last", "third", "an", "hour"]
    assert memory.split() == ["memory:", "deliver", "1,", "MB", "64.7", "71.7", "75.8", "+20.0", "TOO", "MUCH"]
    assert rows.split()[-3:] == ["+36,000.0", "by", "design"]
    assert all(len(a) <= len(b) for a, b in pairwise((head, memory)))
