"""Nothing that lies here is left out, and nothing of it was damaged on the way through an editor or git."""

from __future__ import annotations

import pytest

from tests.e2e.samples.programs import FOLDER, PROGRAMS
from tests.e2e.samples.published import OTHER_CLIENTS, SAMPLES, stored_request, stored_requests


def test_every_stored_request_is_replayed() -> None:
    assert stored_requests() == set(SAMPLES | OTHER_CLIENTS)


@pytest.mark.parametrize("name", sorted(stored_requests()))
def test_a_stored_request_is_whole(name: str) -> None:
    head, _, body = stored_request(name).partition(b"\r\n\r\n")
    lengths = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")]
    assert lengths == [str(len(body)).encode()] or (not lengths and not body)
    assert b"\n" not in head.replace(b"\r\n", b"")


def test_every_program_is_run() -> None:
    written = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.*") if file.suffix != ".md"}
    assert {program.file for program in PROGRAMS} == written - {"stand_in/node-fetch/index.js"}
