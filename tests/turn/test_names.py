"""Names of relays are looked up once at a time, and nobody's patience is another's."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter

import pytest

from controlplane.turn.names import _THREADS, NO_ANSWER, Names
from tests.running_api import until


class Resolver:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.go_on = threading.Event()

    def __call__(self, name: str) -> list[str]:
        self.asked[name] += 1
        assert self.go_on.wait(20)
        if name.startswith("dead"):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ["192.0.2.1"]


async def test_a_name_has_its_addresses() -> None:
    assert {"127.0.0.1", "::1"} & set(await Names().look_up("localhost"))


async def test_a_name_that_cannot_be_one_is_wrong_whoever_answers() -> None:
    with pytest.raises(socket.gaierror) as raised:
        await Names().look_up("x" * 64 + ".test")
    assert raised.value.errno not in NO_ANSWER


async def test_a_name_is_asked_for_once_for_all_who_wait() -> None:
    resolver = Resolver()
    names = Names(resolver)
    waiting = [asyncio.create_task(names.look_up("good")) for _ in range(20)]
    await until(lambda: _has(resolver, "good"))
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    resolver.go_on.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [["192.0.2.1"]] * 19
    assert resolver.asked == {"good": 1}
    await names.look_up("good")
    assert resolver.asked == {"good": 2}


async def test_a_look_up_that_fails_after_everybody_has_gone_is_told_to_nobody() -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    resolver = Resolver()
    names = Names(resolver)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await names.look_up("dead")
    resolver.go_on.set()
    with pytest.raises(socket.gaierror):
        await names.look_up("dead")
    asyncio.get_running_loop().set_exception_handler(None)
    assert told == []


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    resolver = Resolver()
    names = Names(resolver)
    waiting = [asyncio.create_task(names.look_up(f"dead-{number}")) for number in range(_THREADS + 5)]
    await until(lambda: _has(resolver, f"dead-{_THREADS - 1}"))
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    resolver.go_on.set()
    assert await names.look_up("good") == ["192.0.2.1"]
    assert resolver.asked.total() == _THREADS + 1


async def _has(resolver: Resolver, name: str) -> bool:
    return resolver.asked[name] > 0
