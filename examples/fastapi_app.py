# /// script
# dependencies = ["fastapi"]
# ///
"""A FastAPI application."""

from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.greeting = "Hello"
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/hello/{name}")
async def main(name: str, times: int = 1) -> dict[str, str]:
    return {"greeting": f"{app.state.greeting} {name}! " * times}


@app.get("/count")
def count() -> StreamingResponse:
    return StreamingResponse((f"{n}\n" for n in range(3)), media_type="text/plain")
