"""The application `fastapi` of test_apps."""

import logging

from fastapi import FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.responses import RedirectResponse, StreamingResponse
from mangum import Mangum
from pydantic import BaseModel

logger = logging.getLogger()
logger.setLevel(logging.INFO)
app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


@app.get("/")
def root():
    logger.info("root called")
    return {"hello": "world"}


@app.get("/items/{item_id}")
def item(item_id: str, q: str | None = None):
    return {"item_id": item_id, "q": q}


@app.get("/multi")
def multi(request: Request):
    return {
        "items": request.query_params.multi_items(),
        "cookies": request.cookies,
        "headers": dict(request.headers),
        "path": request.url.path,
        "raw": request.scope.get("raw_path", b"").decode("latin-1") if request.scope.get("raw_path") else None,
        "url": str(request.url),
        "client": request.client.host,
    }


@app.post("/items")
def create(item: Item):
    return item


@app.get("/cookies")
def cookies(response: Response):
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return {}


@app.get("/redirect")
def redirect():
    return RedirectResponse("/items/5?q=ä")


@app.get("/boom")
def boom():
    raise RuntimeError("boom ünï")


@app.get("/teapot")
def teapot():
    raise HTTPException(418, "teapot")


@app.get("/binary")
def binary():
    return Response(bytes(range(256)) * 10, media_type="application/octet-stream")


@app.post("/upload")
async def upload(file: UploadFile):
    data = await file.read()
    return {"name": file.filename, "size": len(data)}


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type=request.headers.get("content-type"))


@app.delete("/none", status_code=204)
def none():
    return Response(status_code=204)


@app.get("/stream")
def stream():
    return StreamingResponse((f"line {i}\n" for i in range(100)), media_type="text/plain")


handler = Mangum(app)
