"""What the tasks do beside starting their work."""

from types import SimpleNamespace

import pytest
from celery import Celery

from dispatcher.wake import DELIVER
from workers import tasks


@pytest.mark.parametrize(("claimed", "given_back"), [(tasks.MANY, ["transport", "process"]), (tasks.MANY - 1, [])])
def test_a_loop_that_delivered_many_gives_memory_back_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, claimed: int, given_back: list[str]
) -> None:
    done: list[str] = []
    worker = SimpleNamespace(transport=SimpleNamespace(shrink=lambda: done.append("transport")))
    monkeypatch.setattr(tasks, "DeliveryLoop", lambda _: SimpleNamespace(run=lambda: {"claimed": claimed}))
    monkeypatch.setattr(tasks, "give_back", lambda: done.append("process"))
    app = Celery("test", set_as_current=False)
    tasks.add_tasks(app, lambda: worker)  # type: ignore[arg-type, return-value]
    assert app.tasks[DELIVER]() == {"claimed": claimed}
    assert done == given_back
