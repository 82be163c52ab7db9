"""The least that Litestar can do on our server: a constant answer to a GET. The measure for everything else."""

from __future__ import annotations

import gc
import sys

import uvicorn
import uvloop
from litestar import Litestar, MediaType, Response, get

from controlplane.api.http_protocol import EdgeProtocol

_ANSWER = b'{"iceServers": [], "padding": "' + b"x" * 390 + b'"}'


@get("/")
async def constant() -> Response[bytes]:
    return Response(_ANSWER, media_type=MediaType.JSON)


def main(port: int) -> None:
    app = Litestar([constant], openapi_config=None, logging_config=None)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http=EdgeProtocol, ws="none", lifespan="off", access_log=False, log_config=None
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
