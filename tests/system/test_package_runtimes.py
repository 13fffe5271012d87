"""The runtimes whose roots are built of packages: each runs a function that says which version it is. Building them all takes minutes.

Those that CI has built anyway are tested in `test_runtimes.py`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hanabi.images.runtimes.recipes import RUNTIMES
from tests.server import create_function
from tests.system.test_runtimes import call

pytestmark = pytest.mark.skipif(
    os.environ.get("HANABI_TEST_APPS") != "1", reason="builds runtime roots of packages, which takes minutes: HANABI_TEST_APPS=1"
)

PYTHON = """
import bz2, ctypes, hashlib, json, os, ssl, sys, uuid, zlib, zoneinfo
import boto3

def lambda_handler(event, context):
    if event.get("raise"):
        raise ValueError("no good")
    contexts = ssl.create_default_context()
    return {
        "version": "%d.%d" % sys.version_info[:2], "prefix": sys.prefix, "executable": sys.executable, "boto3": boto3.__file__,
        "certificates": len(contexts.get_ca_certs()), "left": context.get_remaining_time_in_millis() > 0,
        "zone": str(zoneinfo.ZoneInfo("Europe/Paris")), "environment": os.environ["AWS_EXECUTION_ENV"],
    }
"""

NODE = """
const { S3Client } = require("@aws-sdk/client-s3");
exports.handler = async (event, context) => {
  if (event.raise) throw new RangeError("no good");
  return { version: process.version.slice(1).split(".")[0], sdk: typeof S3Client, environment: process.env.AWS_EXECUTION_ENV };
};
"""

RUBY = """
require "aws-sdk-s3"
require "logger"

module App
  class Handler
    def self.process(event:, context:)
      raise ArgumentError, "no good" if event["raise"]
      Logger.new($stdout).info("said")
      {
        version: RUBY_VERSION[/\\d+\\.\\d+/], sdk: Aws::S3::Client.name, id: context.aws_request_id,
        left: context.get_remaining_time_in_millis,
        environment: ENV["AWS_EXECUTION_ENV"], gems: ENV["GEM_PATH"], custom: context.client_context, shell: ENV["SHLVL"],
      }
    end
  end
end
"""

JAVA = """
package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.HashMap;
import java.util.Map;

public class Main implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        if (event.containsKey("raise")) throw new IllegalStateException("no good");
        context.getLogger().log("said\\n");
        Map<String, Object> answer = new HashMap<>();
        answer.put("version", System.getProperty("java.specification.version"));
        answer.put("id", context.getAwsRequestId());
        answer.put("left", context.getRemainingTimeInMillis());
        answer.put("heap_mb", Runtime.getRuntime().maxMemory() >> 20);
        answer.put("environment", new HashMap<>(System.getenv()));
        try {
            javax.net.ssl.SSLContext.getDefault();
            javax.net.ssl.TrustManagerFactory trust = javax.net.ssl.TrustManagerFactory.getInstance("PKIX");
            trust.init((java.security.KeyStore) null);
            answer.put("certificates", ((javax.net.ssl.X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length);
        } catch (Exception error) {
            answer.put("certificates", error.toString());
        }
        return answer;
    }
}
"""


def runtimes_of(language: str) -> list[str]:
    return [runtime for runtime in RUNTIMES if runtime.startswith(language)]


@pytest.mark.parametrize("runtime", runtimes_of("python"))
def test_python(lambda_client: Any, runtime: str) -> None:
    name = f"package-{runtime.replace('.', '-')}"
    create_function(lambda_client, name, PYTHON, Runtime=runtime, MemorySize=512)
    said, response, _ = call(lambda_client, name, {})
    assert "FunctionError" not in response, said
    version = runtime.removeprefix("python")
    assert (said["version"], said["prefix"], said["executable"]) == (version, "/var/lang", f"/var/lang/bin/python{version}")
    assert said["boto3"] == f"/var/lang/lib/python{version}/site-packages/boto3/__init__.py" and said["certificates"] > 50
    assert (said["zone"], said["left"], said["environment"]) == ("Europe/Paris", True, f"AWS_Lambda_{runtime}")
    failed, response, _ = call(lambda_client, name, {"raise": 1})
    assert response["FunctionError"] == "Unhandled" and (failed["errorType"], failed["errorMessage"]) == ("ValueError", "no good")


@pytest.mark.parametrize("runtime", runtimes_of("nodejs"))
def test_node(lambda_client: Any, runtime: str) -> None:
    name = f"package-{runtime.replace('.', '-')}"
    create_function(lambda_client, name, {"index.js": NODE}, Runtime=runtime, Handler="index.handler", MemorySize=512)
    said, response, _ = call(lambda_client, name, {})
    assert "FunctionError" not in response, said
    assert said == {"version": runtime.removeprefix("nodejs").removesuffix(".x"), "sdk": "function", "environment": f"AWS_Lambda_{runtime}"}
    assert call(lambda_client, name, {"raise": 1})[0]["errorType"] == "RangeError"


@pytest.mark.parametrize("runtime", runtimes_of("ruby"))
def test_ruby(lambda_client: Any, runtime: str) -> None:
    name = f"package-{runtime.replace('.', '-')}"
    handler = "app.App::Handler.process"
    create_function(lambda_client, name, {"app.rb": RUBY}, Runtime=runtime, Handler=handler, MemorySize=512)
    said, response, log = call(lambda_client, name, {})
    assert "FunctionError" not in response, said
    assert (said["version"], said["sdk"], said["custom"]) == (runtime.removeprefix("ruby"), "Aws::S3::Client", None)
    assert said["environment"] == f"AWS_Lambda_{runtime}" and said["left"] > 0 and said["id"] in log[0] and said["shell"] == "0"
    assert any("said" in line for line in log)
    failed, response, log = call(lambda_client, name, {"raise": 1})
    assert response["FunctionError"] == "Unhandled" and failed["errorType"] == "Function<ArgumentError>"
    assert failed["errorMessage"] == "no good" and failed["stackTrace"][0].startswith("/var/task/app.rb:8:in ")
    assert call(lambda_client, name, {})[0]["sdk"] == "Aws::S3::Client"
    create_function(lambda_client, f"{name}-none", {"app.rb": RUBY}, Runtime=runtime, Handler="none.handler")
    assert call(lambda_client, f"{name}-none", {})[0]["errorType"] == "Init<LoadError>"


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A class file for Java 8 and later."""
    javac, jars = shutil.which("javac"), sorted(Path("/var/lib/hanabi/images/roots").glob("java*/root/var/lang/lib/lambda/*core*.jar"))
    if javac is None:
        pytest.skip("needs javac: the function is compiled by the test")
    if not jars:
        pytest.skip("needs a built Java root: its jar has the interfaces of handlers")
    work = tmp_path_factory.mktemp("java")
    (work / "Main.java").write_text(JAVA)
    subprocess.run([javac, "--release", "8", "-nowarn", "-cp", str(jars[0]), "-d", work, work / "Main.java"], check=True, timeout=120)
    return (work / "app/Main.class").read_bytes()


@pytest.mark.parametrize("runtime", runtimes_of("java"))
def test_java(lambda_client: Any, java: bytes, runtime: str) -> None:
    name = f"package-{runtime.replace('.', '-')}"
    options = {"Runtime": runtime, "Handler": "app.Main::handleRequest", "MemorySize": 512, "Timeout": 30}
    create_function(lambda_client, name, {"app/Main.class": java}, **options)
    said, response, log = call(lambda_client, name, {})
    assert "FunctionError" not in response, said
    number = runtime.removeprefix("java").partition(".")[0]
    assert said["version"] == ("1.8" if number == "8" else number) and said["left"] > 0 and said["id"] in log[0]
    assert 400 < said["heap_mb"] < 440 and said["certificates"] > 50, said
    environment = said["environment"]
    assert environment["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{runtime}" and not {"PWD", "SHLVL", "_"} & environment.keys()
    assert any("said" in line for line in log)
    failed, response, _ = call(lambda_client, name, {"raise": 1})
    assert response["FunctionError"] == "Unhandled" and failed["errorType"] == "java.lang.IllegalStateException", json.dumps(failed)
