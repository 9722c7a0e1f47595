"""The product's errors pass between processes: a pool or a task queue pickles what a task raises."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

import dispatcher.dialects.everlytic.fields  # so that its errors exist; as below
import dispatcher.embedded.errors  # noqa: F401
from dispatcher.errors import DispatcherError
from tests.each import each

EXAMPLES: dict[Any, Any] = {
    str: "planted",
    object: UUID(int=7),
    int: 7,
    int | None: 7,
    Path: Path("/data"),
    tuple[int, ...]: (15, 16),
}


def with_kinds(error: type[DispatcherError]) -> Iterator[type[DispatcherError]]:
    yield error
    for kind in error.__subclasses__():
        yield from with_kinds(kind)


def example(error: type[DispatcherError]) -> DispatcherError:
    if error.__init__ is Exception.__init__:
        return error("planted text")
    hints = get_type_hints(error.__init__)
    given = inspect.signature(error)
    values = {name: EXAMPLES.get(hints[name], {"planted": ["text"]}) for name in given.parameters}
    bound = inspect.BoundArguments(given, values)  # type: ignore[arg-type]
    return error(*bound.args, **bound.kwargs)


@each("kind", sorted(set(with_kinds(DispatcherError)), key=lambda kind: kind.__name__))
def test_an_error_is_the_same_after_it_was_pickled_or_copied(kind: type[DispatcherError]) -> None:
    error = example(kind)
    error.add_note("while a test ran")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
