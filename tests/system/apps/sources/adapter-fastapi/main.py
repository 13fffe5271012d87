"""The application `adapter-fastapi` of test_layers: FastAPI as anywhere, behind uvicorn."""

import asyncio

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/")
def root():
    return {"hello": "world"}


@app.get("/items/{item_id}")
def item(item_id: str, q: str | None = None):
    return {"item_id": item_id, "q": q}


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type=request.headers.get("content-type"))


@app.get("/stream")
def stream():
    async def lines():
        for number in range(4):
            yield f"line {number}\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(lines(), media_type="text/plain")
