"""The application `flask` of test_apps."""

from apig_wsgi import make_lambda_handler
from flask import Flask, Response, jsonify, make_response, redirect, request, session, url_for

app = Flask(__name__)
app.secret_key = "not secret"


@app.get("/")
def index():
    session["n"] = session.get("n", 0) + 1
    return f"<p>visit {session['n']}</p>"


@app.route("/hello/<name>")
def hello(name):
    return jsonify(name=name, args=request.args.to_dict(flat=False), url=request.url)


@app.post("/form")
def form():
    f = request.files.get("file")
    return jsonify(form=request.form.to_dict(), file=f and [f.filename, len(f.read())])


@app.get("/go")
def go():
    return redirect(url_for("hello", name="ü x", q="1"))


@app.get("/cookies")
def cookies():
    r = make_response("set")
    r.set_cookie("x", "1")
    r.set_cookie("y", "2")
    return r


@app.get("/bin")
def bin():
    return Response(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), mimetype="image/png")


@app.get("/err")
def err():
    raise RuntimeError("flask broke")


@app.post("/echo")
def echo():
    return Response(request.get_data(), mimetype=request.mimetype)


lambda_handler = make_lambda_handler(app)
