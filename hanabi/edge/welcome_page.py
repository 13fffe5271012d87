"""The page that a browser gets at `/`: what Hanabi is and how to point tools at it. Public: no data, no keys."""

import base64
import hashlib

from hanabi.contracts.http import HttpRequest, HttpResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#222;background:#fff}"
    "pre{background:#f3f3f3;padding:1rem;overflow:auto}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}}"
)
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hanabi</title>
<style>{_STYLE}</style>
<h1>Hanabi</h1>
<p>This is an endpoint of AWS Lambda's API, on a machine of your own. It is for tools, not for browsers:
requests are signed, as AWS wants them.</p>
<p>On this machine, in a shell:</p>
<pre>eval "$(hanabi env)"        # the AWS CLI, boto3, SAM and Terraform find this endpoint from here on
aws lambda list-functions
hanabi deploy DIR --url     # a function from a folder, and a URL that browsers can open
hanabi logs NAME -f
hanabi doctor               # what isolates functions here, and what is amiss</pre>
<p>Functions answer browsers at their own URLs: <code>hanabi list</code> shows the functions,
<code>hanabi url NAME</code> the URL of one.</p>
</html>
""".encode()
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)


def is_asked_for(request: HttpRequest) -> bool:
    """Whether a browser opens `/`: unsigned and asking for HTML, which no tool does."""
    if request.path != "/" or request.method != "GET" or request.query:
        return False
    return "text/html" in request.header("accept") and not request.header("authorization")


def answer() -> HttpResponse:
    return HttpResponse(200, list(_HEADERS), _PAGE)
