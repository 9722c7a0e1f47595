"""The setting decides which transport a worker has; without pycurl workers work, too."""

import importlib
import resource
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.receivers import own_receiver
from dispatcher import transport
from dispatcher.errors import ConfigurationError
from dispatcher.settings import Settings
from dispatcher.transport.choice import new_transport, transport_name
from dispatcher.transport.curl.transport import CurlTransport
from dispatcher.transport.exchange import Request
from dispatcher.transport.threaded.transport import RequestsTransport

ROOT = Path(__file__).parents[4]


def settings(**changes: Any) -> Settings:
    values = {"database_url": "postgresql://u:p@127.0.0.1/d", "broker_url": "redis://127.0.0.1/0", **changes}
    return Settings.model_validate(values)


@pytest.fixture
def without_pycurl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycurl", None)
    # The package is made anew meanwhile; its place in the package above is put back, too.
    monkeypatch.setattr(transport, "curl", importlib.import_module("dispatcher.transport.curl"))
    for name in [name for name in sys.modules if name.startswith("dispatcher.transport.curl")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("changes", "kind", "capacity"),
    [
        ({}, CurlTransport, 1500),
        ({"transport": "curl"}, CurlTransport, 1500),
        ({"transport": "curl", "max_in_flight": 5000}, CurlTransport, 5000),
        ({"transport": "requests"}, RequestsTransport, 64),
        ({"transport": "requests", "max_in_flight": 7}, RequestsTransport, 7),
    ],
)
def test_the_setting_chooses_the_transport_and_each_has_its_own_capacity(
    changes: dict[str, Any], kind: type, capacity: int
) -> None:
    transport = new_transport(settings(**changes))
    assert (type(transport), transport.capacity) == (kind, capacity)
    transport.close()


@pytest.mark.usefixtures("without_pycurl")
def test_without_pycurl_auto_is_requests() -> None:
    assert transport_name(settings()) == "requests"
    transport = new_transport(settings())
    assert (type(transport), transport.capacity) == (RequestsTransport, 64)
    transport.close()


@pytest.mark.usefixtures("without_pycurl")
def test_without_pycurl_curl_is_a_mistake_that_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="pycurl is not installed: install it"):
        transport_name(settings(transport="curl"))


def test_the_workers_load_without_pycurl() -> None:
    program = (
        "import sys; sys.modules['pycurl'] = None\n"
        "import workers.tasks, workers.celery_app\n"
        "assert not [name for name in sys.modules if name.startswith('dispatcher.transport.curl')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_requests_has_no_more_threads_than_it_can_bear() -> None:
    with pytest.raises(ConfigurationError, match="above 1000"):
        transport_name(settings(transport="requests", max_in_flight=1001))


@pytest.mark.parametrize("value", [0, -1, 5001])
def test_no_request_in_flight_or_too_many_is_a_mistake(value: int) -> None:
    with pytest.raises(ValueError, match="max_in_flight"):
        settings(max_in_flight=value)


def test_a_line_without_value_in_an_environment_file_means_the_default() -> None:
    assert settings(max_in_flight="").max_in_flight is None


def test_the_limit_of_open_files_is_raised_as_far_as_the_capacity_needs() -> None:
    before = _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
        new_transport(settings(max_in_flight=50)).close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1200, hard)  # enough
        new_transport(settings(max_in_flight=1000)).close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (2100, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("files", "opened"), [(2000, 400), (440, 800)])
def test_connections_to_hundreds_of_receivers_are_kept_if_enough_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: int, opened: int
) -> None:
    with own_receiver(tmp_path, message_bytes=2, listeners=400) as many:
        monkeypatch.setattr(resource, "getrlimit", lambda _what: (files, files))
        monkeypatch.setattr(resource, "setrlimit", lambda _what, _limits: None)
        with closing(new_transport(settings(max_in_flight=40, allowed_networks="127.0.0.1"))) as sender:
            for number in range(800):
                url = many.urls()[number % 400]
                sender.send(Request("1", "POST", url, (), b"{}", connect_timeout=5, timeout=5))
                assert len(sender.wait(5)) == 1
        assert many.requests() == 800
        assert many.opened() == (opened, 0)


def test_with_too_few_open_files_fewer_requests_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 700))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: raised.append(limits))
    transport = new_transport(settings(max_in_flight=1000))
    transport.close()
    assert raised == [(700, 700)]
    assert transport.capacity == 300
