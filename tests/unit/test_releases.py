"""The changelog and git agree on what was released."""

import pytest

from tests.releases import commit_of, git


def test_the_release_0_2_0_is_in_the_history_and_says_its_version() -> None:
    try:
        commit = commit_of("0.2.0")
    except LookupError as error:
        pytest.skip(f"needs the history of the checkout: {error}")
    assert '"0.2.0"' in git("show", f"{commit}:dispatcher/version.py").decode()
    git("merge-base", "--is-ancestor", commit, "HEAD")
