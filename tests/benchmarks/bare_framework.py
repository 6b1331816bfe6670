"""FastAPI alone, under the same server: it reads the JSON of a request, and answers as if it had stored the events."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

app = FastAPI()


@app.post("/v1/batch")
async def batch(request: Request) -> dict[str, Any]:
    """What the endpoint answers when nothing is refused."""
    body = await request.json()
    return {"accepted": len(body["batch"]), "duplicates": 0, "refused": []}


def main() -> None:
    """Serve on a free port, which is printed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=75)
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
