"""The Python bootstrap, as a real process: what a function sees and what its caller gets."""

import functools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.guest.bootstrap import ARN, Guest

BOOTSTRAP = Path(__file__).resolve().parents[4] / "guest" / "python" / "bootstrap.py"
BASE = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
FUNCTION = {
    **BASE,
    "AWS_LAMBDA_FUNCTION_NAME": "demo",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/demo",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "TZ": "Asia/Tokyo",
}


def start() -> Guest:
    return Guest([sys.executable, str(BOOTSTRAP)], BASE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def guest() -> Iterator[Guest]:
    with start() as guest:
        yield guest


def load(guest: Guest, root: Path, source: str, handler: str = "app.handler") -> Guest:
    (root / "app.py").write_text(source)
    assert guest.initialize(handler, root, FUNCTION) == (b"r", b"")
    return guest


def fail_init(guest: Guest, root: Path, handler: str) -> Any:
    kind, body = guest.initialize(handler, root, FUNCTION)
    assert kind == b"e"
    assert guest.exit_status() == 1
    return json.loads(body)


def test_an_event_goes_in_and_a_result_comes_out(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return {'got': event}\n")
    for event in (None, 1, "ü \u2028 \U0001f600", [1, {"a": [True]}], {"deep": {"k": 1.5}}):
        assert guest.invoke(event) == {"got": event}


def test_context_has_all_that_lambda_gives(guest: Guest, root: Path) -> None:
    source = """
def handler(event, c):
    return [c.function_name, c.function_version, c.invoked_function_arn, c.memory_limit_in_mb, c.aws_request_id, c.log_group_name,
            c.log_stream_name, c.identity.cognito_identity_id, c.tenant_id, 0 < c.get_remaining_time_in_millis() <= 5000,
            c.client_context.custom, c.client_context.env, c.client_context.client.app_title, c.client_context.client.installation_id]
"""
    load(guest, root, source)
    context = json.dumps({"custom": {"k": "ü"}, "env": {"e": 1}, "client": {"app_title": "t"}}, indent=1, ensure_ascii=False)
    expected = ["demo", "$LATEST", ARN, "128", "id-7", "/aws/lambda/demo", "stream", None, "blue:1", True, {"k": "ü"}, {"e": 1}, "t", None]
    assert guest.invoke(request_id="id-7", timeout_s=5, tenant="blue:1", context=context) == expected
    assert guest.invoke(timeout_s=5, context=context)[8] is None


def test_no_client_context_is_none_and_a_broken_one_is_an_error(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return context.client_context is None\n")
    assert guest.invoke() is True
    error = guest.fail(context="{")
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert error["errorMessage"].startswith("Unable to parse Client Context JSON: ")


def test_the_function_finds_its_own_environment_directory_zone_and_paths(guest: Guest, root: Path) -> None:
    source = """
import os, sys, time
def handler(event, context):
    return [dict(os.environ), os.getcwd(), time.tzname[0], sys.path[:3], os.environ.get("HANABI_RUNTIME_FD")]
"""
    load(guest, root, source)
    environment, directory, zone, paths, leaked = guest.invoke()
    assert environment == FUNCTION
    assert directory == str(root)
    assert zone == "JST"
    minor = sys.version_info.minor
    assert paths == [str(root), f"/opt/python/lib/python3.{minor}/site-packages", "/opt/python"]
    assert leaked is None


def test_layers_are_below_the_root_that_the_task_root_is_below(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "var" / "task").mkdir(parents=True)
    load(guest, tmp_path / "var" / "task", "import sys\ndef handler(event, context):\n    return sys.path[:3]\n")
    minor = sys.version_info.minor
    python = tmp_path / "opt" / "python"
    assert guest.invoke() == [str(tmp_path / "var" / "task"), f"{python}/lib/python3.{minor}/site-packages", str(python)]


def test_trace_header_is_set_for_each_invocation(guest: Guest, root: Path) -> None:
    load(guest, root, "import os\ndef handler(event, context):\n    return os.environ.get('_X_AMZN_TRACE_ID')\n")
    assert guest.invoke(trace="Root=1-a") == "Root=1-a"
    assert guest.invoke(trace="Root=1-b") == "Root=1-b"
    assert guest.invoke() is None


@pytest.mark.parametrize("handler", ["folder/app.handler", "folder.app.handler", "folder.handler"])
def test_handlers_in_folders_and_packages(guest: Guest, root: Path, handler: str) -> None:
    (root / "folder").mkdir()
    (root / "folder" / "__init__.py").write_text("from .app import handler\n")
    (root / "folder" / "app.py").write_text("def handler(event, context):\n    return __name__\n")
    assert guest.initialize(handler, root, FUNCTION)[0] == b"r"
    assert guest.invoke() == "folder.app"


def test_globals_survive_between_invocations(guest: Guest, root: Path) -> None:
    load(guest, root, "seen = []\ndef handler(event, context):\n    seen.append(event)\n    return seen\n")
    guest.invoke(1)
    assert guest.invoke(2) == [1, 2]


def test_an_exception_is_answered_and_logged_as_lambda_does(guest: Guest, root: Path) -> None:
    load(guest, root, "def inner():\n    raise ValueError('broken ü')\n\ndef handler(event, context):\n    inner()\n")
    error = guest.fail(request_id="id-3")
    path = root / "app.py"
    outer = f'  File "{path}", line 5, in handler\n    inner()\n'
    stack = [outer, f"  File \"{path}\", line 2, in inner\n    raise ValueError('broken ü')\n"]
    assert error == {"errorMessage": "broken ü", "errorType": "ValueError", "requestId": "id-3", "stackTrace": stack}
    indent = "\u00a0"
    (line,) = guest.drain().decode().split("\n")[:-1]
    assert line.startswith("[ERROR] ValueError: broken ü\rTraceback (most recent call last):\r" + indent * 2 + f'File "{path}", line 5')
    assert guest.fail(request_id="id-4")["requestId"] == "id-4"


def test_an_event_that_is_not_json(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return 1\n")
    kind, body = guest.invoke_raw(b"{nonsense")
    assert kind == b"f"
    error = json.loads(body)
    assert error["errorType"] == "Runtime.UnmarshalError"
    assert error["errorMessage"].startswith("Unable to unmarshal input: Expecting property name")


VALUES = """
import collections, decimal, enum
D = decimal.Decimal
P = collections.namedtuple("P", "x y")
C = enum.IntEnum("C", "A")
loop = []; loop.append(loop)
def handler(event, context):
    return eval(event)
"""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("{'n': D('1.10'), 'big': D('1E+30')}", '{"n": 1.10, "big": 1E+30}'),
        ("[D('NaN'), D('Infinity'), float('nan'), float('-inf')]", "[NaN, Infinity, NaN, -Infinity]"),
        ("{'p': P(1, [P(2, None)])}", '{"p": {"x": 1, "y": [{"x": 2, "y": null}]}}'),
        ("{b'k': b'v', 1: 2, None: C.A, 1.5: True}", '{"k": "v", "1": 2, "null": 1, "1.5": true}'),
        ("(1, (2,), collections.OrderedDict(a=1))", '[1, [2], {"a": 1}]'),
        ("b'raw \\xff bytes'", None),
        ("'x' * 3", '"xxx"'),
        ("'ü'", '"\\u00fc"' if sys.version_info < (3, 12) else '"ü"'),
        ("None", "null"),
        ("[[1]] * 2 + [D(1)]", "[[1], [1], 1]"),
    ],
)
def test_results_are_encoded_as_lambda_does(python_values: Guest, value: str, text: str | None) -> None:
    kind, body = python_values.invoke_raw(json.dumps(value).encode())
    assert kind == b"o"
    assert body == (b"raw \xff bytes" if text is None else text.encode())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{'s': {1}}", "Object of type set is not JSON serializable"),
        ("object", "Object of type type is not JSON serializable"),
        ("loop", "Circular reference detected"),
        ("[loop, D(1)]", "Circular reference detected"),
        ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
        ("b'\\xff' if 0 else [b'\\xff']", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_results_that_json_cannot_say(python_values: Guest, value: str, message: str) -> None:
    error = python_values.fail(value)
    assert error["errorType"] == "Runtime.MarshalError"
    assert error["errorMessage"] == f"Unable to marshal response: {message}"
    assert error["stackTrace"] == []


@pytest.fixture(scope="module")
def python_values(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with start() as guest:
        yield load(guest, tmp_path_factory.mktemp("values"), VALUES)


def test_coroutines_run_on_one_loop_that_lasts(guest: Guest, root: Path) -> None:
    source = """
import asyncio
loops = []
async def handler(event, context):
    await asyncio.sleep(0)
    loops.append(asyncio.get_running_loop())
    if event == "fail":
        raise KeyError("k")
    if event == "cancel":
        asyncio.current_task().cancel()
        await asyncio.sleep(1)
    return loops[0] is loops[-1]
"""
    load(guest, root, source)
    assert guest.invoke() is True
    error = guest.fail("fail")
    assert error["errorType"] == "KeyError"
    assert len(error["stackTrace"]) == 1
    assert guest.fail("cancel")["errorType"] == "CancelledError"
    assert guest.invoke() is True


def test_large_payloads_both_ways_and_an_answer_over_the_limit(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return event if isinstance(event, str) else 'y' * event\n")
    text = "x" * (6 * 1024 * 1024 - 2)
    assert guest.invoke(text) == text
    kind, body = guest.invoke_raw(b"20000000")
    assert (kind, len(body)) == (b"o", 6 * 1024 * 1024 + 101)  # enough for the host to see that it is too large
    assert guest.invoke("small again") == "small again"


def test_log_records_prints_and_the_order_of_things(guest: Guest, root: Path) -> None:
    source = """
import logging, sys, os
def handler(event, context):
    print("printed")
    logging.getLogger().info("not shown")
    logging.warning("two\\nlines")
    sys.stdout.write("unfinished")
    os.write(1, b" raw\\n")
    print("to stderr", file=sys.stderr)
    context.log("by context\\n")
"""
    load(guest, root, source)
    guest.invoke(request_id="id-9")
    lines = [line for line in guest.drain().decode().split("\n") if line]
    assert lines[0] == "printed"
    level, stamp, request_id, message = lines[1].split("\t")
    assert (level, request_id, message) == ("[WARNING]", "id-9", "two\rlines")
    assert time.strptime(stamp[:-5], "%Y-%m-%dT%H:%M:%S") and stamp[-5] == "." and stamp[-1] == "Z"
    assert lines[2:] == ["unfinished raw", "to stderr", "by context"]


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("nothing.handler", "Runtime.ImportModuleError", "Unable to import module 'nothing': No module named 'nothing'"),
        ("wants.handler", "Runtime.ImportModuleError", "Unable to import module 'wants': No module named 'not_there'"),
        ("app.nothing", "Runtime.HandlerNotFound", "Handler 'nothing' missing on module 'app'"),
        ("app", "Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
        ("sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
    ],
)
def test_handlers_that_cannot_be_had(guest: Guest, root: Path, handler: str, kind: str, message: str) -> None:
    (root / "app.py").write_text("")
    (root / "wants.py").write_text("import not_there\n")
    error = fail_init(guest, root, handler)
    assert error == {"errorMessage": message, "errorType": kind, "requestId": "", "stackTrace": []}
    assert guest.drain().decode().startswith(f"[ERROR] {kind}: {message}\rTraceback")


def test_syntax_errors_name_the_place(guest: Guest, root: Path) -> None:
    (root / "app.py").write_text("def handler(event, context)\n    pass\n")
    error = fail_init(guest, root, "app.handler")
    assert error["errorType"] == "Runtime.UserCodeSyntaxError"
    assert error["errorMessage"].startswith("Syntax error in module 'app': expected ':' (app.py, line 1)")
    assert error["stackTrace"] == [f'  File "{root / "app.py"}" Line 1\n    def handler(event, context)\n']


def test_an_exception_while_importing_has_lambdas_stack(guest: Guest, root: Path) -> None:
    (root / "app.py").write_text('raise Exception("Runtime startup fails")\n')
    error = fail_init(guest, root, "app.handler")
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == ("Exception", "Runtime startup fails", "")
    assert "importlib/__init__.py" in error["stackTrace"][0]
    assert error["stackTrace"][-1] == f'  File "{root / "app.py"}", line 1, in <module>\n    raise Exception("Runtime startup fails")\n'


@pytest.mark.parametrize(("statement", "status"), [("sys.exit(3)", 3), ("sys.exit()", 0), ("os._exit(7)", 7)])
def test_exits_end_the_process_and_keep_what_was_printed(guest: Guest, root: Path, statement: str, status: int) -> None:
    load(guest, root, f"import os, sys\ndef handler(event, context):\n    print('last words', end='')\n    {statement}\n")
    assert guest.invoke_raw(b"{}") == (b"", b"")
    assert guest.exit_status() == status
    assert guest.drain() == b"last words"


def test_an_exit_while_importing_ends_the_process(guest: Guest, root: Path) -> None:
    (root / "app.py").write_text("import sys\nsys.exit(4)\n")
    assert guest.initialize("app.handler", root, FUNCTION) == (b"", b"")
    assert guest.exit_status() == 4


def test_the_function_cannot_break_the_loop_by_closing_things(guest: Guest, root: Path) -> None:
    source = """
import os, sys, threading
def handler(event, context):
    sys.stdin.close(); os.closerange(20, 100)
    if event == "stdout":
        sys.stdout.close()
        raise OSError("after closing")
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    if os.fork() == 0:
        os._exit(0)
    return os.wait()[1]
"""
    load(guest, root, source)
    assert [guest.invoke() for _ in range(3)] == [0, 0, 0]
    assert guest.fail("stdout")["errorMessage"] == "after closing"
    assert guest.invoke() == 0


def test_closing_the_channel_ends_the_process(guest: Guest, root: Path) -> None:
    load(guest, root, "import os\ndef handler(event, context):\n    os.closerange(3, 100)\n    return 1\n")
    assert guest.invoke_raw(b"{}") == (b"", b"")
    assert guest.exit_status() == 1


def test_child_processes_do_not_get_the_channel(guest: Guest, root: Path) -> None:
    source = """
import os, subprocess, stat
def handler(event, context):
    listing = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout
    return "socket:" in listing
"""
    load(guest, root, source)
    assert guest.invoke() is False


def test_a_function_named_like_a_preloaded_module_is_found_first(guest: Guest, root: Path) -> None:
    (root / "uuid.py").write_text("def handler(event, context):\n    return 'mine'\n")
    assert guest.initialize("uuid.handler", root, FUNCTION)[0] == b"r"
    assert guest.invoke() == "mine"


def test_a_process_of_its_own_needs_no_preload_and_honours_its_start(root: Path) -> None:
    environment = {**FUNCTION, "_HANDLER": "app.handler", "PYTHONSAFEPATH": "1", "PYTHONPATH": str(root / "lib")}
    (root / "lib").mkdir()
    (root / "lib" / "extra.py").write_text("value = 5\n")
    with Guest([sys.executable, str(BOOTSTRAP)], environment) as guest:
        source = "import sys, extra\ndef handler(event, context):\n    return [extra.value, 'asyncio' in sys.modules]\n"
        (root / "app.py").write_text(source)
        assert guest.initialize("app.handler", root, environment)[0] == b"r"
        assert guest.invoke() == [5, False]


def test_the_host_going_away_ends_the_process(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return 1\n")
    guest.socket.shutdown(2)
    assert guest.process.wait(20) == 0


def test_a_thousand_invocations_leave_no_trace_in_memory(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return event['n']\n")
    invoke = functools.partial(guest.invoke, timeout_s=60)
    for number in range(100):
        invoke({"n": number})
    before = resident_kb(guest.process.pid)
    for number in range(1000):
        assert invoke({"n": number, "padding": "x" * 1000}) == number
    assert resident_kb(guest.process.pid) - before < 1500


def resident_kb(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


PRINTING = """
import logging, os, subprocess, sys
def handler(event, context):
    text = "x" * 100
    way = event["way"]
    for i in range(event["lines"]):
        if way == "print": print(i, text)
        elif way == "logging": logging.warning("%d %s", i, text)
        elif way == "os": os.write(1, f"{i} {text}\\n".encode())
        elif way == "both": print(i, text, file=sys.stderr if i % 2 else sys.stdout)
    if way == "child":
        script = f"for i in range({event['lines']}): print(i, '{text}')"
        subprocess.run([sys.executable, "-c", script], check=True)
    if way == "nonblocking":
        os.set_blocking(1, False)
        print("\\n".join(f"{i} {text}" for i in range(event["lines"])))
    if event["end"] == "raise": raise ValueError("at the end")
    if event["end"] == "exit": os._exit(1)
"""


@pytest.mark.parametrize("way", ["print", "logging", "os", "both", "child", "nonblocking"])
@pytest.mark.parametrize("end", ["return", "raise", "exit"])
def test_all_that_was_printed_is_there_before_the_answer(guest: Guest, root: Path, way: str, end: str) -> None:
    load(guest, root, PRINTING)
    kind, _ = guest.invoke_raw(json.dumps({"way": way, "lines": 6000, "end": end}).encode())
    assert kind == {"return": b"o", "raise": b"f", "exit": b""}[end]
    lines = guest.take_log()
    assert [int(line.split("\t")[-1].split(" ")[0]) for line in lines[:6000]] == list(range(6000))


def test_an_answer_and_ready_are_one_write(guest: Guest, root: Path) -> None:
    load(guest, root, "def handler(event, context):\n    return event\n")
    guest.invoke_raw(b"7", ready=False)
    guest.socket.setblocking(False)
    assert guest.socket.recv(100) == b"\1\0\0\0r"


# --- a function's files, and what started it ----------------------------------------------------------------------------

HIDING = """
import logging
async def wait(event):
    return event
def handler(event, context):
    logging.warning("careful")
    try:
        raise ValueError("ü")
    except ValueError:
        logging.exception("it happened")
    if event == "raise":
        int("花火")
    if event == "wait":
        return wait(event)
    if event == "set":
        return {1}
    return event
"""


@pytest.mark.parametrize("pooled", [True, False])
def test_files_that_nobody_imports_hide_nothing(root: Path, pooled: bool) -> None:
    """Each has the name of a module of the standard library. The runtime, its log and its errors need none of them."""
    for name in sys.stdlib_module_names - {"__future__"}:
        (root / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n")
    (root / "app.py").write_text(HIDING)
    own = {} if pooled else {**FUNCTION, "_HANDLER": "app.handler"}
    with Guest([sys.executable, str(BOOTSTRAP)], {**BASE, **own}) as guest:
        assert guest.initialize("app.handler", root, {**FUNCTION, "_HANDLER": "app.handler"}, generic=pooled) == (b"r", b""), guest.drain()
        assert guest.invoke(7) == 7
        assert guest.invoke("wait") == "wait"
        error = guest.fail("raise")
        assert error["errorType"] == "ValueError" and "int(" in error["stackTrace"][0]
        assert guest.fail("set")["errorType"] == "Runtime.MarshalError"
        log = guest.drain().decode()
        assert "it happened" in log and "Traceback (most recent call last)" in log and "was imported" not in log, log


def test_a_path_of_the_functions_hides_nothing_of_ours(root: Path) -> None:
    (root / "libraries").mkdir()
    for name in ("token", "traceback", "json", "logging", "socket", "mine"):
        (root / "libraries" / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')\n" if name != "mine" else "X = 1\n")
    (root / "app.py").write_text("import mine\ndef handler(event, context):\n    return mine.X / event\n")
    with Guest([sys.executable, str(BOOTSTRAP)], {**FUNCTION, "_HANDLER": "app.handler", "PYTHONPATH": str(root / "libraries")}) as guest:
        assert guest.initialize("app.handler", root, FUNCTION, generic=False) == (b"r", b""), guest.drain()
        assert guest.invoke(1) == 1
        assert guest.fail(0)["errorType"] == "ZeroDivisionError"


def test_a_functions_own_module_wins_where_lambdas_would(root: Path) -> None:
    for name in ("random", "uuid", "json"):
        (root / f"{name}.py").write_text("MINE = True\n")
    source = (
        "import json, random, uuid\ndef handler(event, context):\n    return [hasattr(each, 'MINE') for each in (random, uuid, json)]\n"
    )
    with start() as guest:
        assert load(guest, root, source).invoke() == [True, True, False]  # of json the runtime has its own loaded, as Lambda's has


@pytest.mark.parametrize("handler", [None, "other.handler"])
def test_what_a_wrapper_makes_of_the_environment_counts(root: Path, handler: str | None) -> None:
    source = "import os\ndef handler(event, context):\n    return [__name__, os.environ.get('ADDED'), os.environ.get('TAKEN')]\n"
    (root / "other.py").write_text(source)
    (root / "app.py").write_text(source)
    wrapped = {**FUNCTION, "_HANDLER": handler or "app.handler", "ADDED": "by the wrapper"}
    with Guest([sys.executable, str(BOOTSTRAP)], wrapped) as guest:
        given = {**FUNCTION, "_HANDLER": "app.handler", "TAKEN": "away by the wrapper"}
        assert guest.initialize("app.handler", root, given, generic=False) == (b"r", b"")
        assert guest.invoke() == ["other" if handler else "app", "by the wrapper", None]
