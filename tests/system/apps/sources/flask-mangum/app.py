"""The application `flask-mangum` of test_apps."""

from a2wsgi import WSGIMiddleware
from flask import Flask, request
from mangum import Mangum

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def index():
    return {"method": request.method, "args": request.args, "path": request.path, "len": len(request.data)}


@app.route("/p/<path:p>")
def path(p):
    return {"p": p}


handler = Mangum(WSGIMiddleware(app), lifespan="off")
