"""TURN REST credentials against published vectors and coturn's rules."""

from __future__ import annotations

import pytest

from controlplane.fleet.credentials import MAX_EXPIRY, sign, turn_password, turn_username


def test_published_vector_of_the_turn_rest_credential() -> None:
    # The vector in lt_cred_test.go of pion/turn.
    assert turn_password(b"foobar", "1599491771") == "Tpz/nKkyvX/vMSLKvL4sbtBt8Vs="


def test_the_username_is_expiry_colon_id() -> None:
    signed = sign(b"secret", credential_id="0193-abc", expires_at_unix=1795311230)
    assert signed.username == "1795311230:0193-abc"
    assert signed.password not in repr(signed)


@pytest.mark.parametrize("credential_id", ["", "a b", 'a"b', "a\\b", "a%sb", "ä", "a:b"])
def test_an_id_that_coturn_refuses_is_refused_here(credential_id: str) -> None:
    with pytest.raises(ValueError, match="credential id"):
        turn_username(credential_id, 1795311230)


@pytest.mark.parametrize("expiry", [0, -1, MAX_EXPIRY + 1])
def test_an_expiry_that_coturn_cannot_compare_is_refused(expiry: int) -> None:
    with pytest.raises(ValueError, match="2038"):
        turn_username("id", expiry)
