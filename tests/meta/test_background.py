"""Loops beside a process' main work end with it, also when a cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.background import background


async def test_a_loop_that_loses_its_cancellation_ends_all_the_same() -> None:
    lost = 0

    async def loses_it() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    async with asyncio.timeout(10), background([loses_it()]):
        await asyncio.sleep(0)
    assert lost == 2


async def test_a_loop_that_fails_ends_the_body_and_the_other_loops() -> None:
    ended = asyncio.Event()

    async def fails() -> None:
        raise ValueError("a reason")

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a reason")):
        async with asyncio.timeout(10), background([goes_on(), fails()]):
            await asyncio.Event().wait()
    assert ended.is_set()
