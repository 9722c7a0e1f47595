"""What every answer of every route says, whoever asks: it is not to be kept, and is what it says it is."""

from dispatcher.accounts.api_keys import Scope
from dispatcher.asgi import app
from tests.integration.api.conftest import Api, MakeKey
from tests.routes import operations_of

SAID = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def test_no_answer_of_any_route_is_to_be_kept_or_to_be_taken_for_anything_else(
    api: Api, make_key: MakeKey, broker: object
) -> None:
    found = {}
    for key in (make_key("acme", Scope.READ, Scope.SEND, Scope.MANAGE), None):
        for operation in operations_of(app):
            path = operation.at({"project_id": "acme", "brandId": "acme"}, "0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
            answer = api.call(operation.method, path, token=key)
            assert key is None or answer.status_code not in {401, 429}, (operation, answer.text)
            found[operation, key is not None] = {name: answer.headers.get(name) for name in SAID}
    assert len(found) > 200
    assert {asked: said for asked, said in found.items() if said != SAID} == {}
