"""Sinch's own Python client, the last one that manages webhooks, against a running server."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import requests

from dispatcher.ids import new_id
from dispatcher.installation import Installation
from tests.dialects.sinch.conftest import PROJECT, Sinch

CLIENT = Path(sys.prefix) / "clients" / "sinch-1.1.4"
SCRIPT = Path(__file__).with_name("old_client.py")


def test_sinch_1_1_4_makes_lists_reads_changes_and_deletes(sinch: Sinch) -> None:
    assert CLIENT.is_dir(), "./run.sh puts the client there when it sets up the environment"
    authority = sinch.origin.removeprefix("http://").removesuffix("/sinch")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), authority, sinch.key_id, sinch.secret],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    made = printed["made"]
    assert made == {
        "id": made["id"],
        "app_id": "app1",
        "target": "https://hooks.example.com/y",
        "target_type": "HTTP",
        "secret": "",
        "triggers": ["MESSAGE_INBOUND"],
        "client_credentials": None,
    }
    assert printed["listed"] == [made]
    assert printed["read"] == made
    assert printed["changed"] == {**made, "target": "https://hooks.example.com/z"}
    assert printed["error"].startswith("The requested resource was not found.")


def test_a_token_is_issued_as_the_clients_read_it_and_opens_the_api(sinch: Sinch) -> None:
    token = requests.post(
        f"{sinch.origin}/oauth2/token",
        {"grant_type": "client_credentials"},
        auth=(sinch.key_id, sinch.secret),
        timeout=30,
    )
    assert token.status_code == 200
    assert {"access_token", "expires_in", "scope", "token_type"} <= token.json().keys()
    bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
    listed = requests.get(f"{sinch.origin}/v1/projects/{PROJECT}/apps/a/webhooks", headers=bearer, timeout=30)
    assert listed.json() == {"webhooks": []}


def test_only_a_token_whose_time_is_over_is_called_expired(
    sinch: Sinch, environment: dict[str, str], installation: Installation
) -> None:
    past = datetime.now(UTC) - timedelta(minutes=1)
    url = f"{sinch.origin}/v1/projects/{PROJECT}/apps/a/webhooks"
    for key_id, expired in ((UUID(sinch.key_id), True), (new_id(), False)):
        bearer = {"Authorization": f"Bearer {installation.token_mint.access_token(key_id, past)}"}
        answer = requests.get(url, headers=bearer, timeout=30)
        assert answer.status_code == 401
        assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
        assert ("expired" in answer.headers["WWW-Authenticate"]) is expired
