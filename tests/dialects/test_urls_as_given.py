"""A URL is shown byte for byte as given, wherever it is shown in clear. It is called in one form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import requests
from sqlalchemy import Engine

from dispatcher.accounts.api_keys import Scope
from dispatcher.egress.urls import normalise_url
from dispatcher.encryption.vault import EncryptionKeys, Place, destination
from tests.conftest import ENCRYPTION_KEY
from tests.factories import change, rows
from tests.integration.api.conftest import MakeKey
from tests.integration.cli.conftest import Cli, cli

__all__ = ["cli"]

FORMS = {
    "no path": "https://hooks.example.com",
    "no path but a query": "https://hooks.example.com?key=a",
    "upper case": "HTTPS://Hooks.Example.COM/In",
    "default port": "https://hooks.example.com:443/in",
    "padded port": "https://hooks.example.com:00443/in",
    "name in another script": "https://bücher.example/in",
    "full-width name": "https://hooks.ＥＸＡＭＰＬＥ。com/in",
    "long IPv6 address": "https://[2001:4860:4860:0:0:0:0:8888]/in",
    "letters beyond ASCII": "https://hooks.example.com/straße/日本?größe=ü",
    "lower-case escapes": "https://hooks.example.com/%c3%bc?q=%2f%7e",
    "dot segments": "https://hooks.example.com/a/../b/./c//d",
    "fragment": "https://hooks.example.com/in#part/1?x=ü",
    "empty query and fragment": "https://hooks.example.com/in?#",
    "characters that are encoded": 'https://hooks.example.com/{id}|x"<a>^`?q=["a"]&&b',
    "blanks and directions": "https://hooks.example.com/a\u00a0b\u3000\u202e\u200d😀\u2028\u0085",
}


@dataclass(frozen=True, slots=True)
class Surface:
    """A way to manage webhooks. Each call returns the URL that it answers with."""

    make: Callable[[str], str]
    looks: tuple[Callable[[], str], ...]
    touch: Callable[[], object]  # changes something else
    move: Callable[[str], str] | None  # to another URL, if that is possible


SurfaceOf: TypeAlias = Callable[[str], Surface]


@pytest.fixture
def surface_of(server: str, database: Engine, make_key: MakeKey, cli: Cli) -> SurfaceOf:
    key = make_key("acme", Scope.READ, Scope.MANAGE)
    operator = make_key(None, Scope.OPERATOR)
    identifier, _, secret = key.partition(".")

    def ask(method: str, path: str, body: Any = None, *, token: str = "", **arguments: Any) -> Any:
        shown = {"headers": {"Authorization": f"Bearer {token}"}} if token else {"auth": (identifier, secret)}
        answer = requests.request(method, server + path, json=body, timeout=30, **shown, **arguments)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def webhook() -> Any:
        (found,) = rows(database, "SELECT id, number FROM dispatcher.webhooks")
        return found

    def native() -> Surface:
        def url() -> str:
            return str(ask("GET", f"/v1/webhooks/{webhook().id}/secrets")["url"])

        def make(url_: str) -> str:
            body = {"url": url_, "event_types": ["a"], "account": "acme", "skip_url_verification": True}
            ask("POST", "/v1/webhooks", body, token=operator)
            return url()

        def change_to(members: dict[str, Any]) -> str:
            ask("PATCH", f"/v1/webhooks/{webhook().id}", members | {"skip_url_verification": True}, token=operator)
            return url()

        touch = {"contract": {"https_only": True}, "contact_email": "ops@example.com"}
        return Surface(make, (url,), lambda: change_to(touch), lambda url: change_to({"url": url}))

    def command_line() -> Surface:
        def url() -> str:
            return str(cli("webhook", "show", webhook().id, "--reveal", "--json").document["url"])

        def make(url_: str) -> str:
            assert cli("webhook", "create", "--account", "acme", "--type", "a", "--url", url_).status == 0
            return url()

        def change_to(*options: str) -> str:
            assert cli("webhook", "update", webhook().id, *options).status == 0
            return url()

        return Surface(make, (url,), lambda: change_to("--https-only"), lambda url: change_to("--url", url))

    def bulksms() -> Surface:
        path = "/bulksms/v1/webhooks"

        def entry(url: str, **members: Any) -> dict[str, Any]:
            return {"name": "a", "url": url, "triggerScope": "SENT", "active": False, **members}

        def item() -> str:
            return f"{path}/{webhook().number}"

        def touch() -> None:  # an entry is always complete
            ask("POST", item(), ask("GET", item()) | {"onWebApp": False})

        return Surface(
            lambda url: str(ask("POST", path, entry(url))["url"]),
            (lambda: str(ask("GET", item())["url"]), lambda: str(ask("GET", path)[0]["url"])),
            touch,
            lambda url: str(ask("POST", item(), entry(url))["url"]),
        )

    def everlytic() -> Surface:
        path = "/everlytic/api/2.0/production/sms/webhooks"

        def put(**members: Any) -> str:
            return str(ask("PUT", f"{path}/{webhook().id}", {"webhook": members})["data"]["webhook"]["url"])

        new = {"event_types": ["sent"], "verb": "POST"}
        return Surface(
            lambda url: str(ask("POST", path, {"webhook": new | {"url": url}})["data"]["webhook"]["url"]),
            (
                lambda: str(ask("GET", f"{path}/{webhook().id}")["data"]["webhook"]["url"]),
                lambda: str(ask("GET", path)["data"]["webhooks"][0]["url"]),
            ),
            lambda: put(status="disabled", event_types=["reply"], verb="get"),
            lambda url: put(url=url, verb="post"),
        )

    def flexengage() -> Surface:
        path = "/flexengage/v1/acme/webhooks"
        return Surface(
            lambda url: str(ask("POST", path, {"endpoint": url, "events": ["A"]}, token=key)["endpoint"]),
            (
                lambda: str(ask("GET", f"{path}/{webhook().id}", token=key)["endpoint"]),
                lambda: str(ask("GET", path, token=key)[0]["endpoint"]),
            ),
            lambda: ask("PATCH", f"{path}/{webhook().id}", {"enabled": False}, token=key),
            None,
        )

    def sinch() -> Surface:
        path = "/sinch/v1/projects/acme"

        def patch(**members: Any) -> str:
            return str(ask("PATCH", f"{path}/webhooks/{webhook().id}", members)["target"])

        new = {"app_id": "a", "triggers": ["OPT_IN"]}
        return Surface(
            lambda url: str(ask("POST", f"{path}/webhooks", new | {"target": url})["target"]),
            (
                lambda: str(ask("GET", f"{path}/webhooks/{webhook().id}")["target"]),
                lambda: str(ask("GET", f"{path}/apps/a/webhooks")["webhooks"][0]["target"]),
            ),
            lambda: patch(secret="s", triggers=["OPT_OUT"]),
            lambda url: patch(target=url),
        )

    def zipwhip() -> Surface:
        login = {"username": identifier, "password": secret}
        session = ask("POST", "/zipwhip/user/login", data=login)["response"]

        def call(name: str, **parameters: Any) -> str:
            answer = ask("POST", f"/zipwhip/webhook/{name}", data={"session": session, **parameters})
            assert answer["success"] is True, answer
            return str(answer["response"][0]["url"])

        return Surface(
            lambda url: call("add", type="message", event="receive", url=url),
            (lambda: call("list"),),
            lambda: call("update", webhookId=webhook().number, method="PUT"),
            lambda url: call("update", webhookId=webhook().number, url=url),
        )

    surfaces = {
        "native": native, "command line": command_line, "bulksms": bulksms, "everlytic": everlytic,
        "flexengage": flexengage, "sinch": sinch, "zipwhip": zipwhip,
    }  # fmt: skip
    return lambda name: surfaces[name]()


SURFACES = ("native", "command line", "bulksms", "everlytic", "flexengage", "sinch", "zipwhip")
# All of them store through the same code, so every form is tried on one surface, and on each those that what is between
# (a command line, a form, JSON) could change.
CHANGEABLE = ("default port", "letters beyond ASCII", "lower-case escapes", "characters that are encoded")


def kept(database: Engine) -> tuple[str, str | None]:
    """The URL in the form that is called, and as given if that differs. Its destination is stored with it."""
    (row,) = rows(database, "SELECT w.*, i.digest_key, i.id AS i FROM dispatcher.webhooks w, dispatcher.installation i")
    vault = EncryptionKeys(ENCRYPTION_KEY)
    called, given = (
        vault.decrypt(row.url_ciphertext, Place("webhooks", "url_ciphertext", row.id)),
        row.url_given_ciphertext,
    )
    digest_secret = vault.decrypt(row.digest_key, Place.of_digest_key(row.i)).encode()
    assert (row.destination, row.destination_of) == (destination(digest_secret, called), row.url_digest)
    place = Place("webhooks", "url_given_ciphertext", row.id)
    return called, vault.decrypt(given, place) if given is not None else None


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name in SURFACES for form in FORMS if name == "native" or form in CHANGEABLE]
)
def test_a_url_comes_back_as_it_was_given(surface_of: SurfaceOf, database: Engine, name: str, form: str) -> None:
    url, surface = FORMS[form], surface_of(name)
    called = normalise_url(url)
    assert surface.make(url) == url
    assert [look() for look in surface.looks] == [url] * len(surface.looks)
    assert kept(database) == (called, url if url != called else None)
    surface.touch()
    assert [look() for look in surface.looks] == [url] * len(surface.looks)
    if surface.move is not None:
        assert surface.move("https://moved.example.com/in") == "https://moved.example.com/in"
        assert kept(database) == ("https://moved.example.com/in", None)
        assert surface.move(url) == url
        assert kept(database) == (called, url if url != called else None)


@pytest.mark.parametrize("name", SURFACES)
def test_a_url_of_which_only_the_called_form_is_known_comes_back_in_that(
    surface_of: SurfaceOf, database: Engine, name: str
) -> None:
    surface = surface_of(name)
    surface.make(FORMS["letters beyond ASCII"])
    change(database, "UPDATE dispatcher.webhooks SET url_given_ciphertext = NULL")
    called = normalise_url(FORMS["letters beyond ASCII"])
    assert [look() for look in surface.looks] == [called] * len(surface.looks)
