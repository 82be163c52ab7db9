"""A folder that coturn's user can enter; no coturn with its configuration there outlives the test, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.agents.places import open_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        try:
            yield path
        finally:
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if any(str(path) in argument for argument in process.cmdline()):
                        process.kill()
                        process.wait(5)
