"""What test_full_disk.py runs in a mount namespace of its own: a server whose disk is full, and then is not any more."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from tests.server import ROLE, Server, create_function, zip_of
from tests.waiting import wait_for

CODE = "def lambda_handler(event, context):\n    print('ran', event['id'])\n    return event['id']\n"
SIZE = "96m"  # 32 of them are the record's, had ahead
PRINTER = "def lambda_handler(event, context):\n    print('p' * 250_000)\n    print('q' * 250_000)\n"


def main(directory: Path) -> None:
    """Asserts, so a failure is an exit status and a traceback."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "none", str(directory)], check=True)
    server = Server("--pool-size", "0", data_dir=directory)
    with server:
        check(server, directory / "filling")
        check_record(server, directory / "filling")
        assert server.stop() == 0


def check(server: Server, filling: Path) -> None:
    client = server.client("lambda")
    create_function(client, "warm", CODE)
    create_function(client, "cold", CODE)
    assert invoke(client, "warm", "before") == "before"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    accepted = {label for label in (f"event-{number}" for number in range(100)) if accept(client, label)}
    assert len(accepted) < 100
    assert invoke(client, "warm", "while full") == "while full"  # an answer is worth more than its record
    said = refusal(client.create_function, FunctionName="new", Runtime="python3.11", Handler="a.b", Role=ROLE, Code=archive())
    assert "no room" in said, said
    said = refusal(client.update_function_configuration, FunctionName="warm", Timeout=20)
    assert "could not be stored" in said, said
    said = refusal(client.invoke, FunctionName="cold", Payload=b'{"id": "x"}')
    assert "could not be started" in said, said
    filling.unlink()
    assert [each["FunctionName"] for each in client.list_functions()["Functions"]] == ["cold", "warm"]
    assert client.get_function_configuration(FunctionName="warm")["Timeout"] == 10
    assert invoke(client, "cold", "after") == "after"
    assert accept(client, "event-after")
    wait_for(lambda: "ran event-after\n" in server.hanabi("logs", "warm"))
    database = server.data_dir / "events.db"
    wait_for(lambda: waiting(database) == 0)  # what was accepted has been run, whether or not there was room to log it
    client.update_function_configuration(FunctionName="warm", Timeout=20)


def check_record(server: Server, filling: Path) -> None:
    """Invocations while the disk fills: each is either counted or refused, and refused before one could be lost."""
    client = server.client("lambda")
    create_function(client, "printer", PRINTER)
    assert succeeds(client, "printer")  # for what follows its environment is there
    counted = 1
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    said = ""
    while not said:
        try:
            assert client.invoke(FunctionName="printer", Payload=b"{}").get("FunctionError") is None
            counted += 1
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ServiceException", error
            said = str(error)
        assert counted < 1000
    assert "The disk of the server is full" in said, said
    assert counted > 20
    assert usage(server, "printer") == counted
    assert "no room for the record" in server.hanabi("doctor", check=False)
    filling.unlink()
    wait_for(lambda: accept(client, "event-late"))
    wait_for(lambda: succeeds(client, "printer"))
    assert "no room for the record" not in server.hanabi("doctor", check=False)
    wait_for(lambda: usage(server, "printer") == counted + 1)
    wait_for(lambda: "ran event-late\n" in server.hanabi("logs", "warm"))


def usage(server: Server, function: str) -> int:
    told = json.loads(server.hanabi("usage", "--function", function, "--json"))
    assert told["lost"]["invocations"] == 0, told["lost"]
    return int(told["total"]["requests"])


def succeeds(client: Any, name: str) -> bool:
    try:
        return client.invoke(FunctionName=name, Payload=b"{}").get("FunctionError") is None
    except ClientError:
        return False


def invoke(client: Any, name: str, label: str) -> Any:
    return json.loads(client.invoke(FunctionName=name, Payload=json.dumps({"id": label}))["Payload"].read())


def accept(client: Any, label: str) -> bool:
    payload = json.dumps({"id": label, "pad": "x" * 20_000})
    try:
        return bool(client.invoke(FunctionName="warm", InvocationType="Event", Payload=payload)["StatusCode"] == 202)
    except ClientError as error:
        assert "could not be stored" in str(error)
        return False


def refusal(call: Any, **arguments: Any) -> str:
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
        return str(error)
    raise AssertionError("it was done, though there is no room for it")


def archive() -> dict[str, bytes]:
    return {"ZipFile": zip_of({"a.py": CODE, "data": os.urandom(100_000)})}


def waiting(database: Path) -> int:
    import sqlite3

    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
