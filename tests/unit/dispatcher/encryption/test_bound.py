"""Secrets that are bound to their place: the form is stored, so what reads it may not change."""

from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from dispatcher.db.binding import Binding
from dispatcher.encryption.bound import VERSION, BoundKey, is_bound
from dispatcher.encryption.vault import EncryptionKeys, Place
from dispatcher.errors import Unreadable, WrongEncryptionKey

KEY = "a2V5IGtleSBrZXkga2V5IGtleSBrZXkga2V5IGtleSE="
ROW = UUID("0198a6de-3c1f-7b52-9c1e-5f6d7c8b9a00")
PLACE = Place("webhooks", "url_ciphertext", ROW)
STORED = bytes.fromhex(
    "013796f671fc6cc61f2d41ea346bcd53a8224ccd799278086f9a9cbcd3fa3c4d2aefa893a5d6cd79d05aa2c944e4c36b0d7f"
    "50b4ad17f2a1835fdb78cfa20e"
)
CLEAR = "https://example.com/?key=t0ken"

done = EncryptionKeys(KEY, Binding.DONE)


def test_what_was_stored_once_opens_for_ever() -> None:
    assert done.decrypt(STORED, PLACE) == CLEAR
    assert done.decrypt(memoryview(STORED), PLACE) == CLEAR  # type: ignore[arg-type] - as the driver gives it


@pytest.mark.parametrize(
    "place",
    [
        Place("webhooks", "url_ciphertext", UUID(int=1)),
        Place("webhooks", "secrets_ciphertext", ROW),
        Place("tokens", "url_ciphertext", ROW),
    ],
)
def test_it_opens_at_its_own_row_and_column_alone(place: Place) -> None:
    with pytest.raises(Unreadable, match="made for another row"):
        done.decrypt(STORED, place)


def test_an_id_as_text_is_the_same_place() -> None:
    assert done.decrypt(STORED, PLACE._replace(id=str(ROW))) == CLEAR


def opens(stored: bytes) -> bool:
    try:
        done.decrypt(stored, PLACE)
    except (Unreadable, WrongEncryptionKey):
        return False
    return True


def test_no_byte_of_it_can_be_changed() -> None:
    changed = [STORED[:at] + bytes([STORED[at] ^ 1]) + STORED[at + 1 :] for at in range(len(STORED))]
    assert [at for at, stored in enumerate(changed) if opens(stored)] == []


def test_a_part_of_it_opens_nothing() -> None:
    assert [length for length in range(1, len(STORED)) if opens(STORED[:length])] == []


def test_a_key_that_is_missing_is_told_from_a_secret_of_another_row() -> None:
    other = EncryptionKeys(Fernet.generate_key().decode(), Binding.DONE)
    with pytest.raises(WrongEncryptionKey, match="add the key"):
        other.decrypt(STORED, PLACE)


def test_the_same_secret_is_never_stored_as_the_same_bytes() -> None:
    assert len({done.encrypt(CLEAR, PLACE) for _ in range(100)}) == 100


def test_the_id_of_a_key_and_the_key_itself_have_nothing_in_common() -> None:
    assert BoundKey(KEY).id == bytes.fromhex("3796f671")
    assert BoundKey(KEY).id not in Fernet(KEY)._signing_key + Fernet(KEY)._encryption_key


def test_until_binding_begins_secrets_are_written_as_older_versions_read_them() -> None:
    written = EncryptionKeys(KEY).encrypt(CLEAR, PLACE)
    assert Fernet(KEY).decrypt(written).decode() == CLEAR
    assert is_bound(EncryptionKeys(KEY, Binding.BEGUN).encrypt(CLEAR, PLACE))


def test_one_that_is_not_bound_opens_until_binding_is_done_and_never_again() -> None:
    unbound = Fernet(KEY).encrypt(CLEAR.encode())
    keys = EncryptionKeys(KEY)
    for binding in (Binding.NOT_YET, Binding.BEGUN):
        keys.learn(binding)
        assert keys.decrypt(unbound, PLACE) == CLEAR
    for binding in (Binding.DONE, Binding.NOT_YET):
        keys.learn(binding)
        with pytest.raises(Unreadable, match="could come from another row"):
            keys.decrypt(unbound, PLACE)
        with pytest.raises(Unreadable):
            keys.renewed(unbound, PLACE, bind=True)


def test_no_token_of_older_versions_is_taken_for_a_bound_secret() -> None:
    assert not Fernet(KEY).encrypt(b"").startswith(VERSION)
