"""Frames on disk: length, checksum, payload. A torn tail is recognised and ignored, whatever byte it was cut at."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from zlib import crc32

_HEAD = struct.Struct("<II")
MAX_PAYLOAD_BYTES = 64 * 1024
"""Far above any record. A larger length can only be damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    payloads: list[bytes]
    consumed: int
    """Bytes of whole, undamaged frames from the start."""
    damaged: bool
    """What follows is not merely cut short: a length or checksum is wrong."""


def encode_frame(payload: bytes) -> bytes:
    """Raises ValueError for an empty payload or one over MAX_PAYLOAD_BYTES.

    An empty one is refused because eight zero bytes, which a crash may leave behind, must not read as a frame.
    """
    if not 0 < len(payload) <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"A journal frame holds 1 to {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}.")
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def decode_frames(data: bytes, *, limit: int | None = None) -> Decoded:
    """All whole frames from the start of `data`, at most `limit`. Never raises."""
    payloads: list[bytes] = []
    offset = 0
    while limit is None or len(payloads) < limit:
        if len(data) - offset < _HEAD.size:
            break
        length, checksum = _HEAD.unpack_from(data, offset)
        if not 0 < length <= MAX_PAYLOAD_BYTES:
            return Decoded(payloads=payloads, consumed=offset, damaged=True)
        end = offset + _HEAD.size + length
        if end > len(data):
            break
        payload = data[offset + _HEAD.size : end]
        if crc32(payload) != checksum:
            return Decoded(payloads=payloads, consumed=offset, damaged=True)
        payloads.append(payload)
        offset = end
    return Decoded(payloads=payloads, consumed=offset, damaged=False)
