"""The Node.js bootstrap, as a real process: what a function sees and what its caller gets."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.guest.bootstrap import ARN, Guest

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node on PATH")

BOOTSTRAP = Path(__file__).resolve().parents[4] / "guest" / "node" / "bootstrap.mjs"
FUNCTION = {
    "PATH": os.environ["PATH"],
    "AWS_LAMBDA_FUNCTION_NAME": "demo",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/demo",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
    "TZ": "Asia/Tokyo",
}


def start(libraries: Path) -> Guest:
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": f"/opt/nodejs/node_modules:{libraries}/node_modules:/var/runtime"}
    return Guest([NODE or "node", str(BOOTSTRAP)], environment)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "task").mkdir()
    return tmp_path / "task"


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    with start(tmp_path / "libraries") as guest:
        yield guest


def load(guest: Guest, root: Path, source: str, *, file: str = "index.js", handler: str = "index.handler") -> Guest:
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(source)
    assert guest.initialize(handler, root, FUNCTION) == (b"r", b"")
    return guest


def fail_init(guest: Guest, root: Path, handler: str) -> Any:
    kind, body = guest.initialize(handler, root, FUNCTION)
    assert kind == b"e"
    assert guest.exit_status() == 129
    return json.loads(body)


@pytest.mark.parametrize(
    ("file", "handler", "source"),
    [
        ("index.js", "index.handler", "exports.handler = async (event) => ({ got: event });"),
        ("index.js", "index.handler", "exports.handler = (event, context, callback) => setTimeout(callback, 1, null, { got: event });"),
        ("index.js", "index.handler", "exports.handler = (event, context, callback) => { callback(null, { got: event }); };"),
        ("index.js", "index.handler", "exports.handler = (event, context) => context.succeed({ got: event });"),
        ("index.js", "index.handler", "exports.handler = (event, context) => context.done(null, { got: event });"),
        ("index.cjs", "index.handler", "exports.handler = async (event) => ({ got: event });"),
        ("index.mjs", "index.handler", "await null; export const handler = async (event) => ({ got: event });"),
        ("src/app.js", "src/app.run", "exports.run = async (event) => ({ got: event });"),
        ("index.js", "index.api.v1.run", "exports.api = { v1: { run: async (event) => ({ got: event }) } };"),
    ],
)
def test_an_event_goes_in_and_a_result_comes_out(guest: Guest, root: Path, file: str, handler: str, source: str) -> None:
    load(guest, root, source, file=file, handler=handler)
    for event in (None, "ü \u2028 \U0001f600", [1, {"a": True}]):
        assert guest.invoke(event) == {"got": event}


def test_es_modules_by_package_json(guest: Guest, root: Path) -> None:
    (root / "package.json").write_text('{"type": "module"}')
    load(guest, root, "export const handler = async () => import.meta.url.slice(-8);")
    assert guest.invoke() == "index.js"


@pytest.mark.parametrize(
    ("file", "use"),
    [("index.mjs", "import { name } from '@aws-sdk/x';"), ("index.js", "const { name } = require('@aws-sdk/x');")],
)
def test_libraries_of_node_path_are_found(guest: Guest, root: Path, tmp_path: Path, file: str, use: str) -> None:
    library = tmp_path / "libraries" / "node_modules" / "@aws-sdk" / "x"
    library.mkdir(parents=True)
    (library / "package.json").write_text('{"name": "@aws-sdk/x", "exports": {"import": "./m.mjs", "require": "./c.cjs"}}')
    (library / "m.mjs").write_text("export const name = 'esm';")
    (library / "c.cjs").write_text("exports.name = 'cjs';")
    export = "export const handler" if file.endswith("mjs") else "exports.handler"
    load(guest, root, f"{use}\n{export} = async () => name;", file=file)
    assert guest.invoke() == ("esm" if file.endswith("mjs") else "cjs")


def test_context_has_all_that_lambda_gives(guest: Guest, root: Path) -> None:
    source = """
exports.handler = async (event, c) => [c.functionName, c.functionVersion, c.invokedFunctionArn, c.memoryLimitInMB, c.awsRequestId,
  c.logGroupName, c.logStreamName, c.callbackWaitsForEmptyEventLoop, c.getRemainingTimeInMillis() > 4000, c.clientContext?.custom,
  process.env._X_AMZN_TRACE_ID, process.cwd(), new Date().getTimezoneOffset(), Object.keys(process.env).length, process.env.NODE_PATH,
  c.tenantId];
"""
    load(guest, root, source)
    context = json.dumps({"custom": {"k": "ü"}}, indent=1)
    result = guest.invoke(request_id="id-7", timeout_s=5, tenant="blue", context=context, trace="Root=1-a")
    expected = ["demo", "$LATEST", ARN, "128", "id-7", "/aws/lambda/demo", "stream", True, True, {"k": "ü"}, "Root=1-a", str(root), -540]
    assert result == [*expected, len(FUNCTION) + 1, None, "blue"]
    assert guest.invoke()[-1] is None
    assert guest.invoke()[9:11] == [None, None]


@pytest.mark.parametrize(
    "body",
    [
        "async () => { throw new TypeError('broken ü') }",
        "() => { throw new TypeError('broken ü') }",
        "(e, c, callback) => callback(new TypeError('broken ü'))",
        "(e, c) => c.fail(new TypeError('broken ü'))",
    ],
)
def test_errors_are_answered_and_logged_as_lambda_does(guest: Guest, root: Path, body: str) -> None:
    load(guest, root, f"exports.handler = {body};")
    error = guest.fail(request_id="id-3")
    assert (error["errorType"], error["errorMessage"]) == ("TypeError", "broken ü")
    assert error["trace"][0] == "TypeError: broken ü"
    assert str(root / "index.js") in error["trace"][1]
    (line,) = guest.take_log()
    _, request_id, level, label, details = line.split("\t")
    assert (request_id, level, label) == ("id-3", "ERROR", "Invoke Error ")
    assert json.loads(details)["errorType"] == "TypeError"
    assert guest.fail()["errorType"] == "TypeError"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("async () => { throw 'text' }", {"errorType": "string", "errorMessage": "text", "trace": []}),
        ("(e, c) => c.fail()", {"errorType": "string", "errorMessage": "handled", "trace": []}),
    ],
)
def test_errors_that_are_no_errors(guest: Guest, root: Path, body: str, error: dict[str, Any]) -> None:
    load(guest, root, f"exports.handler = {body};")
    assert guest.fail() == error


def test_results_that_json_cannot_say(guest: Guest, root: Path) -> None:
    load(guest, root, "exports.handler = async (event) => event === 1 ? 1n : event === 2 ? undefined : () => 1;")
    error = guest.fail(1)
    assert (error["errorType"], error["errorMessage"]) == ("Error", "Unable to stringify response body")
    assert guest.invoke(2) is None
    assert guest.invoke(3) is None


def test_a_callback_waits_for_the_event_loop_unless_told_not_to(guest: Guest, root: Path) -> None:
    source = """
let late = 0;
exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = event.wait;
  const before = late;
  setTimeout(() => { late += 1; }, 30);
  callback(null, event.wait ? { get late() { return late; } } : before);
};
"""
    load(guest, root, source)
    assert guest.invoke({"wait": True}) == {"late": 1}
    assert guest.invoke({"wait": False}) == 1


def test_a_handler_that_never_answers_gives_null_when_nothing_is_left(guest: Guest, root: Path) -> None:
    load(guest, root, "exports.handler = (event) => event ? new Promise(() => {}) : setTimeout(() => {}, 5);")
    assert guest.invoke(0) is None
    assert guest.invoke(1) is None


def test_only_the_first_answer_counts(guest: Guest, root: Path) -> None:
    body = "setTimeout(c.succeed, 1, 'late'); c.succeed(event); c.fail('no'); return 'later';"
    load(guest, root, f"exports.handler = async (event, c) => {{ {body} }};")
    assert [guest.invoke(number) for number in range(5)] == list(range(5))


def test_console_lines(guest: Guest, root: Path) -> None:
    source = """
exports.handler = async () => {
  console.log("two\\nlines %d", 5, { a: 1 });
  for (const level of ["trace", "debug", "info", "warn", "error"]) console[level](level);
  console.log();
  process.stdout.write("raw\\n");
};
"""
    load(guest, root, source)
    guest.invoke(request_id="id-9")
    lines = [line for line in guest.drain().decode().split("\n") if line]
    stamp, request_id, level, message = lines[0].split("\t")
    assert stamp.endswith("Z") and len(stamp) == 24
    assert (request_id, level, message) == ("id-9", "INFO", "two\rlines 5 { a: 1 }")
    assert [line.split("\t")[2] for line in lines[1:6]] == ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
    assert lines[6].endswith("\tINFO\tundefined")  # as Lambda's
    assert lines[7:] == ["raw"]


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("nothing.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'nothing'\nRequire stack:\n- "),
        ("wants.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'not-there'\nRequire stack:\n- "),
        ("index.nothing", "Runtime.HandlerNotFound", "index.nothing is undefined or not exported"),
        ("index.value", "Runtime.HandlerNotFound", "index.value is not a function"),
        ("index", "Runtime.MalformedHandlerName", "Bad handler"),
        ("../index.handler", "Runtime.MalformedHandlerName", "'../index.handler' is not a valid handler name. Use absolute paths"),
        ("syntax.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
        ("throws.handler", "RangeError", "at load"),
        ("esm.handler", "Error", "Cannot find package 'not-there' imported from "),
    ],
)
def test_handlers_that_cannot_be_had(guest: Guest, root: Path, handler: str, kind: str, message: str) -> None:
    (root / "index.js").write_text("exports.value = 1;")
    (root / "wants.js").write_text("require('not-there');")
    (root / "syntax.js").write_text("exports.handler = (;")
    (root / "throws.js").write_text("throw new RangeError('at load');")
    (root / "esm.mjs").write_text("import 'not-there';")
    error = fail_init(guest, root, handler)
    assert error["errorType"] == kind
    assert error["errorMessage"].startswith(message)
    assert isinstance(error["trace"], list)
    (line,) = guest.take_log()
    assert "\tundefined\tERROR\tUncaught Exception \t{" in line


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("setTimeout(() => { throw new RangeError('later') }, 1);", "RangeError", 129),
        ("Promise.reject(new RangeError('lost'));", "Runtime.UnhandledPromiseRejection", 128),
    ],
)
def test_errors_nobody_catches_are_answered_and_end_the_process(guest: Guest, root: Path, body: str, kind: str, status: int) -> None:
    load(guest, root, f"exports.handler = async () => {{ {body} await new Promise((resolve) => setTimeout(resolve, 20_000)); }};")
    frame, text = guest.invoke_raw(b"{}")
    assert frame == b"x"
    assert json.loads(text)["errorType"] == kind
    assert guest.exit_status() == status


def test_a_rejection_nobody_catches_while_loading_is_an_init_error(guest: Guest, root: Path) -> None:
    (root / "index.js").write_text("Promise.reject(new Error('lost')); exports.handler = async () => 1;")
    kind, body = guest.initialize("index.handler", root, FUNCTION)
    assert (kind, json.loads(body)["errorType"]) == (b"e", "Runtime.UnhandledPromiseRejection")
    assert guest.exit_status() == 128


def test_process_exit_keeps_what_was_printed(guest: Guest, root: Path) -> None:
    load(guest, root, "exports.handler = async () => { process.stdout.write('last words'); process.exit(3); };")
    assert guest.invoke_raw(b"{}") == (b"", b"")
    assert guest.exit_status() == 3
    assert guest.drain() == b"last words"


def test_large_payloads_both_ways_and_an_answer_over_the_limit(guest: Guest, root: Path) -> None:
    load(guest, root, "exports.handler = async (event) => typeof event === 'string' ? event : 'y'.repeat(event);")
    text = "x" * (6 * 1024 * 1024 - 2)
    assert guest.invoke(text) == text
    kind, body = guest.invoke_raw(b"20000000")
    assert (kind, len(body)) == (b"o", 6 * 1024 * 1024 + 101)
    assert guest.invoke("small again") == "small again"


def test_child_processes_do_not_get_the_channel(guest: Guest, root: Path) -> None:
    source = """
const { execFileSync } = require("child_process");
exports.handler = async () => execFileSync("ls", ["-l", "/proc/self/fd"], { stdio: ["ignore", "pipe", "inherit"] }).toString();
"""
    load(guest, root, source)
    assert os.readlink(f"/proc/self/fd/{guest.socket.fileno()}")
    listing = guest.invoke()
    assert sum("socket:" in line for line in listing.splitlines()) <= 1  # its own stdout, which Node makes a socket


def test_the_host_going_away_ends_the_process(guest: Guest, root: Path) -> None:
    load(guest, root, "setInterval(() => {}, 1000); exports.handler = async () => 1;")
    assert guest.invoke() == 1
    guest.socket.shutdown(2)
    assert guest.process.wait(20) == 0


def test_a_thousand_invocations(guest: Guest, root: Path) -> None:
    load(guest, root, "let n = 0; exports.handler = async (event) => [event.n, ++n];")
    for number in range(1000):
        assert guest.invoke({"n": number}) == [number, number + 1]


PRINTING = """
exports.handler = async ({ way, lines, end }) => {
  const text = "x".repeat(100);
  for (let i = 0; i < lines; i++) {
    if (way === "console") console.log(`${i} ${text}`);
    else if (way === "stdout") process.stdout.write(`${i} ${text}\\n`);
    else if (way === "both") process[i % 2 ? "stderr" : "stdout"].write(`${i} ${text}\\n`);
    else console.table ? process.stderr.write(`${i} ${text}\\n`) : 0;
  }
  if (end === "throw") throw new Error("at the end");
  if (end === "exit") process.exit(1);
  if (end === "reject") { Promise.reject(new Error("at the end")); await new Promise(() => setTimeout(() => {}, 5000)); }
  return lines;
};
"""


@pytest.mark.parametrize("way", ["console", "stdout", "stderr", "both"])
@pytest.mark.parametrize("end", ["return", "throw", "exit", "reject"])
def test_all_that_was_printed_is_there_before_the_answer(guest: Guest, root: Path, way: str, end: str) -> None:
    load(guest, root, PRINTING)
    kind, _ = guest.invoke_raw(json.dumps({"way": way, "lines": 6000, "end": end}).encode(), ready=False)
    assert kind == {"return": b"o", "throw": b"f", "exit": b"", "reject": b"x"}[end]
    lines = guest.take_log()
    numbers = [int(line.split("\t")[-1].split(" ")[0]) for line in lines[:6000]]
    assert numbers == list(range(6000))
    assert len(lines) == 6000 + (end in ("throw", "reject"))


def test_a_child_that_makes_the_pipe_its_own_loses_nothing(guest: Guest, root: Path) -> None:
    """A Node.js beside us sets O_NONBLOCK on the pipe that we share."""
    source = """
const { execFileSync } = require("node:child_process");
exports.handler = async () => {
  execFileSync(process.execPath, ["-e", "for (let i = 0; i < 100; i++) console.log('child', i)"], { stdio: "inherit" });
  for (let i = 0; i < 6000; i++) console.log(`${i} ${"x".repeat(100)}`);
};
"""
    load(guest, root, source)
    guest.invoke()
    lines = guest.take_log()
    assert len([line for line in lines if line.startswith("child")]) == 100
    assert [int(line.split("\t")[-1].split(" ")[0]) for line in lines[100:]] == list(range(6000))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("Promise.reject(new Error('nobody awaits me')); return 1;", 128),
        ("setImmediate(() => process.exit(3)); return 1;", 3),
        ("setImmediate(() => { throw new Error('late'); }); return 1;", 129),
        ("process.nextTick(() => process.exit(4)); return 1;", 4),
    ],
)
def test_one_that_ends_after_its_answer_does_not_say_ready(guest: Guest, root: Path, body: str, status: int) -> None:
    load(guest, root, f"exports.handler = async () => {{ {body} }};")
    kind, _ = guest.invoke_raw(b"{}", ready=False)
    assert kind in (b"o", b"x", b"")
    assert guest.exit_status() == status


@pytest.mark.parametrize("handler", [None, "other.handler"])
def test_what_a_wrapper_makes_of_the_environment_counts(root: Path, handler: str | None) -> None:
    source = "exports.handler = async () => [__filename.split('/').pop(), process.env.ADDED, process.env.TAKEN ?? null];"
    (root / "index.js").write_text(source)
    (root / "other.js").write_text(source)
    wrapped = {**FUNCTION, "_HANDLER": handler or "index.handler", "ADDED": "by the wrapper"}
    with Guest([NODE or "node", str(BOOTSTRAP)], wrapped) as guest:
        given = {**FUNCTION, "_HANDLER": "index.handler", "TAKEN": "away by the wrapper"}
        assert guest.initialize("index.handler", root, given, generic=False) == (b"r", b"")
        assert guest.invoke() == ["other.js" if handler else "index.js", "by the wrapper", None]


@pytest.mark.parametrize("kind", ["commonjs", "module"])
def test_files_that_nobody_imports_hide_nothing(guest: Guest, root: Path, kind: str) -> None:
    builtins = json.loads(subprocess.check_output([NODE or "node", "-p", "JSON.stringify(require('module').builtinModules)"]))
    for name in builtins:
        if "/" not in name:
            (root / f"{name}.js").write_text(f"throw new Error('{name} was imported');")
            (root / "node_modules" / name).mkdir(parents=True)
            (root / "node_modules" / name / "index.js").write_text(f"throw new Error('{name} was imported');")
    for name in ("aws-sdk", "hanabi", "@aws-sdk/client-lambda"):
        (root / "node_modules" / name).mkdir(parents=True)
        (root / "node_modules" / name / "index.js").write_text(f"throw new Error('{name} was imported');")
    for name in ("fs", "path", "hanabi", "util"):
        (root / name).mkdir()
    (root / "package.json").write_text(json.dumps({"type": kind}))
    head = "exports.handler =" if kind == "commonjs" else "export const handler ="
    load(guest, root, head + "async (event) => { console.log('hello'); if (event === 1) throw new RangeError('no'); return event; };")
    assert guest.invoke(7) == 7
    assert guest.fail(1)["errorType"] == "RangeError"
    assert "was imported" not in guest.drain().decode()
