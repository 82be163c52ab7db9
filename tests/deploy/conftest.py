"""A place for a stack, the umask of the careful, and a PATH on which there is next to nothing."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.programs import stand_in

# What a bare system has, and deploy/dev uses.
PLAIN = (
    *("sh", "cat", "chmod", "cut", "date", "dirname", "id", "mkdir", "mktemp"),
    *("mv", "readlink", "rm", "rmdir", "sed", "tail", "tr", "uname"),
)


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder that PostgreSQL's account can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-state-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH on which nothing that turnfleet needs is found, but Python and apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PLAIN:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    (folder / "python3").symlink_to(sys.executable)
    stand_in(folder, "apt-get", "echo apt-get was run")
    return str(folder)
