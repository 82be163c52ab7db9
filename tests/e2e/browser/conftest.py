"""A real browser before a real fleet: two regions, each with a coturn and its agent."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from deploy.local.stack import Stack
from tests.e2e.browser.fleet import Fleet
from tests.e2e.browser.peers import Peers
from tests.e2e.samples.runtimes import needs

LAUNCH_DEADLINE_MILLISECONDS = 60_000
# Nothing of a browser's own business: no updates, no first-run pages, no telemetry.
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # The stack's certificate comes from an authority that nobody knows; `turns:` would end with error 701.
    "--ignore-certificate-errors",
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(stack: Stack) -> AsyncIterator[Fleet]:
    fleet = Fleet(stack.ready)
    try:
        yield fleet
    finally:
        await fleet.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    # Chromium's own sandbox refuses to run as root.
    arguments = [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else ARGUMENTS
    executable = needs("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=arguments, timeout=LAUNCH_DEADLINE_MILLISECONDS)
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def peers(browser: Browser) -> AsyncIterator[Peers]:
    """A page of its own for each test; its connections end with it."""
    context = await browser.new_context()
    try:
        peers = Peers(await context.new_page())
        await peers.open()
        yield peers
        await peers.release()
    finally:
        await context.close()
