"""Names of relays are looked up once at a time, and nobody's patience is another's."""

from __future__ import annotations

import asyncio
import socket

import pytest

from controlplane.turn.names import NO_ANSWER, Names


async def test_a_name_has_its_addresses_for_everybody_who_waits() -> None:
    names = Names()
    assert not names.answered_lately()
    waiting = [asyncio.create_task(names.look_up("localhost")) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(each, list) and {"127.0.0.1", "::1"} & set(each) for each in found[1:])
    assert names.answered_lately()


async def test_a_name_that_cannot_be_one_is_wrong_whoever_answers() -> None:
    with pytest.raises(socket.gaierror) as raised:
        await Names().look_up("x" * 64 + ".test")
    assert raised.value.errno not in NO_ANSWER
