"""`dispatcher roles`. What the roles can do is in tests/integration/roles."""

import pytest

from dispatcher.db.roles import ROLES
from tests.integration.cli.conftest import Cli


def test_the_roles_are_shown_with_who_uses_them_and_need_no_settings(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    assert [line.split()[0] for line in cli("roles").out.splitlines()[1:]] == [f"dispatcher_{name}" for name in ROLES]
    assert cli("roles", "--json", "--prefix", "hooks_").document == [
        {"role": f"hooks_{name}", "for": role.about} for name, role in ROLES.items()
    ]


def test_the_sql_uses_the_names_that_were_chosen(cli: Cli) -> None:
    printed = cli("roles", "--print", "--prefix", "hooks_").out
    assert "GRANT EXECUTE ON FUNCTION dispatcher.enqueue_v1 TO hooks_producer;" in printed
    assert "dispatcher_producer" not in printed


@pytest.mark.parametrize("prefix", ["", "1a", "A_", "a b", "a;", "x" * 41])
def test_a_prefix_that_is_no_name_is_refused(cli: Cli, prefix: str) -> None:
    ran = cli("roles", "--print", "--prefix", prefix)
    assert (ran.status, ran.out) == (2, "")
    assert "small letters" in ran.err
