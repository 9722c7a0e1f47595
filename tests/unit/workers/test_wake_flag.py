from dispatcher.wake import AWAKE_SECONDS, DELIVER, Waker
from workers.wake_flag import WakeFlag


class Recorded(Waker):
    """A waker that only records what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def awake(self, task: str = "") -> bool:
        assert task == DELIVER
        self.said.append("awake")
        return True

    def asleep(self, task: str = "") -> bool:
        assert task == DELIVER
        self.said.append("asleep")
        return True


def test_the_flag_is_renewed_long_before_it_expires_and_not_each_time() -> None:
    waker = Recorded()
    flag = WakeFlag(waker, DELIVER)
    for now in (0.0, AWAKE_SECONDS / 6, AWAKE_SECONDS / 2):
        flag.keep(now, has_room=True)
    assert waker.said == ["awake", "awake"]


def test_a_loop_without_room_clears_the_flag_once_and_sets_it_as_soon_as_it_has_room() -> None:
    waker = Recorded()
    flag = WakeFlag(waker, DELIVER)
    for has_room in (True, False, False, True):
        flag.keep(0.0, has_room=has_room)
    assert waker.said == ["awake", "asleep", "awake"]


def test_a_loop_that_begins_without_room_clears_no_flag_of_another() -> None:
    waker = Recorded()
    WakeFlag(waker, DELIVER).keep(0.0, has_room=False)
    assert waker.said == []


def test_a_cleared_flag_is_set_again_when_it_is_kept() -> None:
    waker = Recorded()
    flag = WakeFlag(waker, DELIVER)
    flag.keep(0.0, has_room=True)
    flag.clear()
    flag.keep(0.0, has_room=True)
    assert waker.said == ["awake", "asleep", "awake"]
