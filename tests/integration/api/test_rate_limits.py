"""A key's requests are counted over all API processes, and not at all while the broker is away."""

from dispatcher.api.rate_limits import RateLimits
from dispatcher.settings import Settings
from tests.dead_ports import refusing_port


def test_a_key_has_its_requests_and_then_must_wait(settings: Settings, broker: object) -> None:
    url = settings.broker_url.get_secret_value()
    one, other = RateLimits(url, 5), RateLimits(url, 5)
    assert [one.seconds_to_wait("k"), other.seconds_to_wait("k"), *(one.seconds_to_wait("k") for _ in range(3))] == [
        0
    ] * 5
    assert 1 <= other.seconds_to_wait("k") <= 60
    assert one.seconds_to_wait("another") == 0


def test_without_the_broker_nobody_has_to_wait() -> None:
    limits = RateLimits(f"redis://127.0.0.1:{refusing_port()}/0", 1)
    assert [limits.seconds_to_wait("k") for _ in range(3)] == [0, 0, 0]
