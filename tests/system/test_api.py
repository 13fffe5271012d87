"""What clients other than a plain `invoke` see of a running Hanabi: function URLs, wire details, limits, the sequences of tools."""

import base64
import http.client
import io
import json
import os
import re
import socket
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from hanabi.control.settings import ARCHITECTURES
from hanabi.frontends.function_urls.handler import FORBIDDEN
from tests.server import ROLE, Server, create_function, zip_of
from tests.waiting import wait_for

WEB = """
import base64, os

def lambda_handler(event, context):
    path = event.get("rawPath") if isinstance(event, dict) else None
    if path == "/binary":
        body = base64.b64encode(bytes(range(256))).decode()
        return {"statusCode": 200, "headers": {"content-type": "image/png"}, "isBase64Encoded": True, "body": body}
    if path == "/cookies":
        return {"statusCode": 201, "headers": {"x-own": "1"}, "cookies": ["a=1; Path=/", "b=2"], "body": "made"}
    if path == "/fail":
        raise ValueError("not for strangers")
    if path == "/text":
        return "plain"
    if path == "/arn":
        return context.invoked_function_arn
    return event
"""
ACCOUNT, REGION = "000000000000", "us-east-1"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function"


@pytest.fixture(scope="module")
def web(lambda_client: Any) -> str:
    return create_function(lambda_client, "api-web", WEB)


@pytest.fixture(scope="module")
def web_host(lambda_client: Any, web: str) -> str:
    cors = {"AllowOrigins": ["https://app.example.com"], "AllowMethods": ["GET"], "AllowHeaders": ["x-token"], "MaxAge": 60}
    made = lambda_client.create_function_url_config(FunctionName=web, AuthType="NONE", Cors=cors)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    return host_of(made["FunctionUrl"])


@pytest.fixture(scope="module")
def clients(hanabi_server: Server) -> Iterator[dict[str, Any]]:
    """Of the services around Lambda."""
    made = {service: hanabi_server.client(service) for service in ("iam", "logs", "sts")}
    yield made
    for client in made.values():
        client.close()


def host_of(url: str) -> str:
    """`http://127.x.y.z:<port>/` -> its host and port."""
    assert url.startswith("http://127.") and url.endswith("/")
    return url[len("http://") : -1]


def ask(
    server: Server, host: str, path: str = "/", *, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """One plain HTTP request, at the URL's own address; one that is asked for by its name comes to the node's."""
    address = host.partition(":")[0] if host.startswith("127.") else "127.0.0.1"
    connection = http.client.HTTPConnection(address, server.port, timeout=60)
    try:
        connection.request(method, path, body, {"host": host, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, [(name.lower(), value) for name, value in answer.getheaders()], answer.read()
    finally:
        connection.close()


def credentials(server: Server) -> Credentials:
    env = server.env
    return Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])


def sign(keys: Credentials, method: str, url: str, body: bytes = b"", service: str = "lambda", region: str = REGION) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, data=body)
    SigV4Auth(keys, service, region).add_auth(request)
    return dict(request.headers.items())


def invoke(client: Any, name: str, **options: Any) -> dict[str, Any]:
    """What Invoke answered, `Payload` read: a connection is used again only then."""
    answer: dict[str, Any] = client.invoke(FunctionName=name, **({"Payload": b"{}"} | options))
    with answer["Payload"] as payload:
        return answer | {"Payload": payload.read()}


def refused(call: Any, **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


# --- function URLs ----------------------------------------------------------------------------------------------------


def test_plain_http_becomes_an_event(hanabi_server: Server, web_host: str) -> None:
    sent = {"cookie": "k=v; z=w", "x-foo": "1", "content-type": "application/json"}
    status, headers, body = ask(hanabi_server, web_host, "/a/b%20c?x=1&x=2&y=%26", method="POST", body=b'{"n":1}', headers=sent)
    event = json.loads(body)
    assert (status, dict(headers)["content-type"]) == (200, "application/json")
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert (event["rawPath"], event["rawQueryString"]) == ("/a/b%20c", "x=1&x=2&y=%26")
    assert event["queryStringParameters"] == {"x": "1,2", "y": "&"} and event["cookies"] == ["k=v", "z=w"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"n":1}', False)
    assert event["headers"]["x-foo"] == "1" and "cookie" not in event["headers"]
    assert event["headers"]["host"] == web_host
    context = event["requestContext"]
    name, _, port = web_host.partition(":")
    assert context["domainName"] == name and re.fullmatch("[a-z0-9]{32}", context["apiId"]) and context["domainPrefix"] == context["apiId"]
    named = ask(hanabi_server, f"{context['apiId']}.lambda-url.localhost:{port}", "/a")[2]  # the same URL by its name
    assert json.loads(named)["requestContext"]["domainName"] == f"{context['apiId']}.lambda-url.localhost"
    assert (context["accountId"], context["http"]["method"], context["http"]["sourceIp"]) == ("anonymous", "POST", "127.0.0.1")
    assert event["headers"]["x-forwarded-port"] == port
    assert context["requestId"] == dict(headers)["x-amzn-requestid"]


def test_bodies_of_bytes_pass_both_ways(hanabi_server: Server, web_host: str) -> None:
    data = bytes(range(256)) * 4096
    _, _, answer = ask(hanabi_server, web_host, "/up", method="PUT", body=data, headers={"content-type": "application/octet-stream"})
    event = json.loads(answer)
    assert event["isBase64Encoded"] is True and base64.b64decode(event["body"]) == data
    status, headers, answer = ask(hanabi_server, web_host, "/binary")
    assert (status, dict(headers)["content-type"], answer) == (200, "image/png", bytes(range(256)))


@pytest.mark.parametrize("size", [5 * 1024 * 1024, 6 * 1024 * 1024 + 1, 20 * 1024 * 1024])
def test_a_body_that_is_too_large_for_an_event(hanabi_server: Server, web_host: str, size: int) -> None:
    """As base64 the smallest of these is beyond the limit too."""
    length = {"content-length": str(size), "expect": "100-continue"} if size > 7 * 1024 * 1024 else {}
    status, headers, body = ask(hanabi_server, web_host, method="POST", body=b"" if length else bytes(size), headers=length)
    assert (status, dict(headers)["x-amzn-errortype"]) == (413, "RequestTooLargeException")
    assert json.loads(body)["Message"] == "Request must be smaller than 6291456 bytes for the InvokeFunction operation"


def test_answers_have_their_status_headers_and_cookies(hanabi_server: Server, web_host: str) -> None:
    status, headers, body = ask(hanabi_server, web_host, "/cookies")
    assert (status, body, dict(headers)["x-own"]) == (201, b"made", "1")
    assert [value for name, value in headers if name == "set-cookie"] == ["a=1; Path=/", "b=2"]
    assert ask(hanabi_server, web_host, "/text")[::2] == (200, b"plain")
    assert ask(hanabi_server, web_host, "/fail")[::2] == (502, b"Internal Server Error")
    status, headers, body = ask(hanabi_server, web_host, "/cookies", method="HEAD")
    assert (status, body) == (201, b"")


def test_browsers_are_answered_by_the_configuration(hanabi_server: Server, web_host: str) -> None:
    preflight = {"origin": "https://app.example.com", "access-control-request-method": "GET", "access-control-request-headers": "x-token"}
    status, pairs, _ = ask(hanabi_server, web_host, method="OPTIONS", headers=preflight)
    headers = dict(pairs)
    assert (status, headers["access-control-allow-origin"], headers["access-control-max-age"]) == (200, "https://app.example.com", "60")
    assert (headers["access-control-allow-methods"], headers["access-control-allow-headers"]) == ("GET", "x-token")
    headers = dict(ask(hanabi_server, web_host, "/text", headers={"origin": "https://app.example.com"})[1])
    assert headers["access-control-allow-origin"] == "https://app.example.com"
    headers = dict(ask(hanabi_server, web_host, "/text", headers={"origin": "https://evil.example"})[1])
    assert "access-control-allow-origin" not in headers


def test_urls_that_are_not_there(hanabi_server: Server, lambda_client: Any, web: str) -> None:
    unknown = f"{'a' * 32}.lambda-url.localhost:{hanabi_server.port}"
    assert ask(hanabi_server, unknown)[::2] == (403, b'{"Message":null}')
    assert ask(hanabi_server, unknown, "/2015-03-31/functions/")[0] == 403
    number = lambda_client.publish_version(FunctionName=web)["Version"]
    lambda_client.create_alias(FunctionName=web, Name="live", FunctionVersion=number)
    made = lambda_client.create_function_url_config(FunctionName=web, Qualifier="live", AuthType="NONE")
    host = host_of(made["FunctionUrl"])
    assert ask(hanabi_server, host, "/arn")[::2] == (200, f"{ARN}:{web}:live".encode())
    lambda_client.delete_function_url_config(FunctionName=web, Qualifier="live")
    with pytest.raises(ConnectionRefusedError):
        ask(hanabi_server, host, "/arn")
    assert refused(lambda_client.get_function_url_config, FunctionName=web, Qualifier="live") == ("ResourceNotFoundException", 404)


def test_a_url_for_those_who_may(hanabi_server: Server, lambda_client: Any, clients: dict[str, Any]) -> None:
    name = create_function(lambda_client, "api-signed", WEB)
    host = host_of(lambda_client.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")["FunctionUrl"])
    url = f"http://{host}/x?b=2&a=1"
    forbidden = json.dumps({"Message": FORBIDDEN}, separators=(",", ":")).encode()
    assert ask(hanabi_server, host, "/x?b=2&a=1")[::2] == (403, forbidden)
    owner = credentials(hanabi_server)
    status, _, body = ask(hanabi_server, host, "/x?b=2&a=1", headers=sign(owner, "GET", url))
    event = json.loads(body)
    assert (status, event["requestContext"]["authorizer"]["iam"]["userArn"]) == (200, f"arn:aws:iam::{ACCOUNT}:root")
    assert "authorization" not in event["headers"]
    assert ask(hanabi_server, host, "/y", headers=sign(owner, "GET", url))[0] == 403

    iam, trust = clients["iam"], {"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}}
    iam.create_role(RoleName="api-url", AssumeRolePolicyDocument=json.dumps(trust))
    role = f"arn:aws:iam::{ACCOUNT}:role/api-url"
    session = clients["sts"].assume_role(RoleArn=role, RoleSessionName="guest")["Credentials"]
    guest = Credentials(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    both = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
    for action, expected in ((both[0], 403), (both[1], 403), (both, 200)):
        policy = {"Statement": {"Effect": "Allow", "Action": action, "Resource": f"{ARN}:{name}"}}
        iam.put_role_policy(RoleName="api-url", PolicyName="p", PolicyDocument=json.dumps(policy))
        assert ask(hanabi_server, host, "/x?b=2&a=1", headers=sign(guest, "GET", url))[0] == expected


def test_a_throttled_url(hanabi_server: Server, lambda_client: Any) -> None:
    name = create_function(lambda_client, "api-off", WEB)
    host = host_of(lambda_client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"])
    lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert ask(hanabi_server, host)[0] == 429
    with pytest.raises(ClientError) as caught:
        lambda_client.invoke(FunctionName=name)
    assert caught.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert lambda_client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 0}


# --- the wire ---------------------------------------------------------------------------------------------------------


def test_headers_that_clients_read(lambda_client: Any, web: str) -> None:
    answer = invoke(lambda_client, web, LogType="Tail")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-requestid"] == answer["ResponseMetadata"]["RequestId"]
    assert (headers["x-amz-executed-version"], headers["content-type"]) == ("$LATEST", "application/json")
    assert headers["x-amzn-trace-id"].startswith("Root=1-") and headers["x-amzn-remapped-content-length"] == "0"
    assert base64.b64decode(headers["x-amz-log-result"]).startswith(b"START RequestId: ")
    assert "x-amz-function-error" not in headers


def raw(server: Server, method: str, path: str, body: bytes = b"", **options: Any) -> bytes:
    """A signed request, byte for byte."""
    headers = sign(credentials(server), method, f"{server.endpoint}{path}", body, **options)
    lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{server.port}", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode() + body


def test_requests_that_do_not_wait_for_answers(hanabi_server: Server, web: str) -> None:
    requests = [raw(hanabi_server, "POST", f"/2015-03-31/functions/{web}/invocations", b'{"n":%d}' % number) for number in range(4)]
    got = b""
    with socket.create_connection(("127.0.0.1", hanabi_server.port), timeout=60) as connection:
        connection.sendall(b"".join(requests))
        while len(answers := re.findall(rb'\{"n": (\d)\}', got)) < 4:
            part = connection.recv(65536)
            assert part, got
            got += part
    assert answers == [b"0", b"1", b"2", b"3"]


def test_signatures_that_do_not_hold(hanabi_server: Server, lambda_client: Any, web: str) -> None:
    path = f"/2015-03-31/functions/{web}/invocations"
    host, url, owner = f"127.0.0.1:{hanabi_server.port}", f"{hanabi_server.endpoint}{path}", credentials(hanabi_server)

    def post(headers: dict[str, str], body: bytes = b"{}") -> tuple[int, str]:
        status, pairs, _ = ask(hanabi_server, host, path, method="POST", body=body, headers=headers)
        return status, dict(pairs).get("x-amzn-errortype", "")

    assert post(sign(owner, "POST", url, b"{}")) == (200, "")
    assert post({}) == (403, "MissingAuthenticationTokenException")
    assert post(sign(owner, "POST", url, b"{}"), b"[]") == (403, "InvalidSignatureException")
    assert post(sign(owner, "POST", url, b"{}", region="eu-west-1")) == (404, "ResourceNotFoundException")  # another region's
    assert post(sign(owner, "POST", url, b"{}", region="nowhere")) == (403, "InvalidSignatureException")
    assert post(sign(owner, "POST", url, b"{}", service="sqs")) == (501, "NotImplementedException")
    assert post(sign(Credentials("AKIAABSENT", "x"), "POST", url, b"{}")) == (403, "UnrecognizedClientException")
    assert post(sign(Credentials(owner.access_key, "x"), "POST", url, b"{}")) == (403, "InvalidSignatureException")
    late = dict(sign(owner, "POST", url, b"{}"))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 600))
    assert post(late | {"X-Amz-Date": stamp})[0] == 403
    presigned = AWSRequest(method="POST", url=url)
    SigV4QueryAuth(owner, "lambda", "us-east-1", expires=60).add_auth(presigned)
    status, _, _ = ask(hanabi_server, host, presigned.url.removeprefix(hanabi_server.endpoint), method="POST")
    assert status == 200


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("cloudformation", "list_stacks"),
        ("dynamodb", "list_tables"),
        ("ec2", "describe_regions"),
        ("s3", "list_buckets"),
        ("sqs", "list_queues"),
    ],
)
def test_other_services_are_named(hanabi_server: Server, service: str, call: str) -> None:
    with closing(hanabi_server.client(service)) as client, pytest.raises(ClientError) as caught:
        getattr(client, call)()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert caught.value.response["Error"]["Message"] == f"Hanabi does not implement the service {service}"


# --- code -------------------------------------------------------------------------------------------------------------


def test_code_can_be_fetched_from_its_location(hanabi_server: Server, lambda_client: Any) -> None:
    archive = zip_of({"lambda_function.py": "def lambda_handler(event, context): return 1"})
    lambda_client.create_function(
        FunctionName="api-code", Runtime="python3.11", Handler="lambda_function.lambda_handler", Role=ROLE, Code={"ZipFile": archive}
    )
    code = lambda_client.get_function(FunctionName="api-code")["Code"]
    assert code["RepositoryType"] == "S3"
    with urllib.request.urlopen(code["Location"], timeout=30) as answer:
        assert (answer.headers["content-type"], answer.read()) == ("application/zip", archive)
    host = f"127.0.0.1:{hanabi_server.port}"
    path, _, query = code["Location"].removeprefix(hanabi_server.endpoint).partition("?")
    other = path[:-1] + ("0" if path[-1] != "0" else "1")
    later = re.sub(r"Expires=(\d+)", lambda found: f"Expires={int(found[1]) + 1}", query)
    for changed in (f"{other}?{query}", path, f"{path}?{later}", f"/_hanabi/usage/..{path.removeprefix('/_hanabi')}?{query}"):
        assert ask(hanabi_server, host, changed)[0] in (400, 403)
    owner = credentials(hanabi_server)
    for absent in (path, other, "/_hanabi/code/", "/_hanabi/code/..%2f..%2fkeys.json"):  # the owner's key is not what is asked for there
        headers = sign(owner, "GET", f"{hanabi_server.endpoint}{absent}", service="hanabi")
        assert ask(hanabi_server, host, absent, headers=headers)[0] in (403, 404)


def test_the_largest_upload_runs_and_holds_nobody_up(lambda_client: Any, web: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("lambda_function.py", "import os\ndef lambda_handler(event, context):\n    return os.path.getsize('noise')\n")
        archive.writestr("noise", os.urandom(49 * 1024 * 1024))
    create_function(lambda_client, "api-large", "")
    with ThreadPoolExecutor(1) as pool:
        update = pool.submit(lambda_client.update_function_code, FunctionName="api-large", ZipFile=buffer.getvalue())
        served = 0
        while not update.done():
            assert invoke(lambda_client, web)["StatusCode"] == 200
            served += 1
        assert update.result()["CodeSize"] == len(buffer.getvalue()) and served > 0
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName="api-large", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    assert json.loads(invoke(lambda_client, "api-large")["Payload"]) == 49 * 1024 * 1024
    lambda_client.delete_function(FunctionName="api-large")
    too_large = buffer.getvalue() + bytes(4 * 1024 * 1024)
    assert refused(lambda_client.update_function_code, FunctionName=web, ZipFile=too_large) == ("RequestEntityTooLargeException", 413)


def test_a_dry_run_of_an_update_changes_nothing(lambda_client: Any, web: str) -> None:
    before = lambda_client.get_function_configuration(FunctionName=web)
    archive = zip_of({"lambda_function.py": "x"})
    dry = lambda_client.update_function_code(FunctionName=web, ZipFile=archive, DryRun=True, Publish=True)
    assert dry["CodeSha256"] != before["CodeSha256"] and dry["Version"] == "$LATEST"
    after = lambda_client.get_function_configuration(FunctionName=web)
    assert {**after, "ResponseMetadata": None} == {**before, "ResponseMetadata": None}
    stale = {"FunctionName": web, "RevisionId": "00000000-0000-4000-8000-000000000000"}
    assert refused(lambda_client.update_function_code, ZipFile=archive, **stale) == ("PreconditionFailedException", 412)


# --- who calls what in which order ------------------------------------------------------------------------------------


def test_weights_send_invocations_both_ways(lambda_client: Any) -> None:
    name = create_function(lambda_client, "api-weights", WEB)
    lambda_client.publish_version(FunctionName=name)
    lambda_client.update_function_configuration(FunctionName=name, Description="second")
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    lambda_client.publish_version(FunctionName=name)
    lambda_client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="2")
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    lambda_client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig=weights)
    seen = {invoke(lambda_client, f"{ARN}:{name}:live")["ExecutedVersion"] for _ in range(40)}
    assert seen == {"1", "2"}  # one in 2^39 goes wrong
    lambda_client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig={"AdditionalVersionWeights": {}})
    assert {invoke(lambda_client, name, Qualifier="live")["ExecutedVersion"] for _ in range(10)} == {"2"}
    assert refused(lambda_client.delete_function, FunctionName=name, Qualifier="2") == ("ResourceConflictException", 409)


def test_the_calls_of_an_infrastructure_tool(lambda_client: Any, clients: dict[str, Any]) -> None:
    """Plan, apply, refresh and destroy, in the order of a provider: role, log group, function, URL, permission."""
    iam, logs, sts = clients["iam"], clients["logs"], clients["sts"]
    assert sts.get_caller_identity()["Account"] == ACCOUNT
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="api-tool", AssumeRolePolicyDocument=json.dumps(trust), Tags=[{"Key": "t", "Value": "1"}])["Role"]
    basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    iam.attach_role_policy(RoleName="api-tool", PolicyArn=basic)
    assert iam.get_role(RoleName="api-tool")["Role"]["Arn"] == role["Arn"]
    assert iam.list_role_policies(RoleName="api-tool")["PolicyNames"] == []
    assert len(iam.list_attached_role_policies(RoleName="api-tool")["AttachedPolicies"]) == 1
    group = "/aws/lambda/api-tool"
    logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=14)
    found = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
    assert found["retentionInDays"] == 14
    assert logs.list_tags_for_resource(resourceArn=found["logGroupArn"])["tags"] == {}

    code = zip_of({"lambda_function.py": WEB})
    settings = {"Runtime": "python3.11", "Handler": "lambda_function.lambda_handler", "Role": role["Arn"], "PackageType": "Zip"}
    harmless: dict[str, Any] = {
        "Architectures": ARCHITECTURES,
        "EphemeralStorage": {"Size": 512},
        "TracingConfig": {"Mode": "PassThrough"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": group},
        "Layers": [],
        "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
        "Environment": {"Variables": {"STAGE": "test"}},
        "Tags": {"t": "1"},
    }
    lambda_client.create_function(FunctionName="api-tool", Code={"ZipFile": code}, Publish=False, **settings, **harmless)
    for waiter in ("function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"):
        lambda_client.get_waiter(waiter).wait(FunctionName="api-tool", WaiterConfig={"Delay": 1})
    got = lambda_client.get_function(FunctionName="api-tool")
    assert (got["Tags"], got["Configuration"]["State"]) == ({"t": "1"}, "Active")
    arn = got["Configuration"]["FunctionArn"]
    assert [each["Version"] for each in lambda_client.list_versions_by_function(FunctionName="api-tool")["Versions"]] == ["$LATEST"]
    assert "CodeSigningConfigArn" not in lambda_client.get_function_code_signing_config(FunctionName="api-tool")
    assert "ReservedConcurrentExecutions" not in lambda_client.get_function_concurrency(FunctionName="api-tool")
    lambda_client.tag_resource(Resource=arn, Tags={"u": "2"})
    lambda_client.untag_resource(Resource=arn, TagKeys=["t"])
    assert lambda_client.list_tags(Resource=arn)["Tags"] == {"u": "2"}
    lambda_client.create_function_url_config(FunctionName="api-tool", AuthType="NONE")
    permission = {"StatementId": "FunctionURLAllowPublicAccess", "Principal": "*", "FunctionUrlAuthType": "NONE"}
    lambda_client.add_permission(FunctionName="api-tool", Action="lambda:InvokeFunctionUrl", **permission)
    (statement,) = json.loads(lambda_client.get_policy(FunctionName="api-tool")["Policy"])["Statement"]
    assert statement["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}
    invoke(lambda_client, "api-tool", InvocationType="Event", Payload=b'{"from": "tool"}')
    wait_for(lambda: logs.filter_log_events(logGroupName=group, filterPattern="REPORT")["events"])
    streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True)["events"]
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 1})
    assert len([event for page in pages for event in page["events"]]) == len(events) >= 3

    lambda_client.remove_permission(FunctionName="api-tool", StatementId="FunctionURLAllowPublicAccess")
    assert refused(lambda_client.get_policy, FunctionName="api-tool") == ("ResourceNotFoundException", 404)
    lambda_client.delete_function_url_config(FunctionName="api-tool")
    lambda_client.delete_function(FunctionName="api-tool")
    assert refused(lambda_client.get_function, FunctionName="api-tool") == ("ResourceNotFoundException", 404)
    logs.delete_log_group(logGroupName=group)
    assert iam.list_instance_profiles_for_role(RoleName="api-tool")["InstanceProfiles"] == []
    iam.detach_role_policy(RoleName="api-tool", PolicyArn=basic)
    iam.delete_role(RoleName="api-tool")
