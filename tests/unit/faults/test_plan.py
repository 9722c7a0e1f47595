"""The plan of a storm."""

from tests.faults.plan import KINDS, NAMES, make_plan


def test_the_same_seed_makes_the_same_storm_and_another_one_another() -> None:
    assert make_plan(10, 7) == make_plan(10, 7)
    assert make_plan(10, 7).steps != make_plan(10, 8).steps


def test_each_variant_of_each_kind_happens_even_in_the_shortest_storm() -> None:
    happens = {(step.kind, step.variant) for step in make_plan(0.5, 1).steps}
    assert happens == {(kind.name, variant) for kind in KINDS for variant in kind.variants}


def test_faults_begin_and_end_within_the_storm_in_order() -> None:
    for minutes in (0.5, 10):
        plan = make_plan(minutes, 3)
        assert [step.at for step in plan.steps] == sorted(step.at for step in plan.steps)
        assert all(0 < step.at <= step.until <= plan.seconds for step in plan.steps)


def test_leaving_kinds_out_does_not_move_the_others() -> None:
    whole = make_plan(10, 5)
    for name in NAMES:
        assert make_plan(10, 5, [name]).steps == tuple(step for step in whole.steps if step.kind == name)


def test_a_long_storm_has_the_products_own_times() -> None:
    plan = make_plan(10, 1)
    assert (plan.lease, plan.time_scale, plan.crowd) == (120, 1, 20_000)
    assert make_plan(0.5, 1).lease < 30
