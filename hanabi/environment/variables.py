"""The environment variables of a function's process, as Lambda defines them.

AWS Lambda developer guide, "Using Lambda environment variables": reserved ones always win, the function's own win over the runtime's.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hanabi.contracts.credentials import Credentials
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Preload
from hanabi.environment.container import handler_name
from hanabi.runtime.api import CREDENTIALS_PATH
from hanabi.runtime.frames import LOADED_FRAME

RUNTIME_API = "127.0.0.1:9001"  # in every sandbox that has a network namespace or a machine to itself
XRAY_PORT = 2000
WITH_SDK_V1_NAMES = ("java8.al2", "java11")  # their keys have the names of AWS's first SDK for Java, too
LOG_FD = {"_LAMBDA_TELEMETRY_LOG_FD": "5"}  # where a runtime writes its records in frames: what the agent gives it besides stdout
START_TIME_PREFIXES = ("PYTHON", "LD_", "GLIBC_", "NODE_", "MALLOC_")
START_TIME_NAMES = frozenset({"AWS_LAMBDA_EXEC_WRAPPER", "LANG", "LC_ALL", "LC_CTYPE", "UV_THREADPOOL_SIZE"})


def needs_own_start(environment: Mapping[str, str]) -> bool:
    """Whether a variable must be set when the process starts, which rules out a pooled environment."""
    return any(name.startswith(START_TIME_PREFIXES) or name in START_TIME_NAMES for name in environment)


def generic_variables(image: RuntimeImage, *, runtime_api: str, task_root: str) -> dict[str, str]:
    """Make the variables of a pooled process without a function."""
    return {
        **image.environment,
        **LOG_FD,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_TASK_ROOT": task_root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }


def preload_of(image: RuntimeImage) -> Preload | None:
    """Return what may be started ahead of time in a sandbox of an image."""
    if not (image.command and image.clonable):
        return None
    environment = generic_variables(image, runtime_api=RUNTIME_API, task_root="/var/task")
    return Preload(argv=image.command, environment=environment, announce={"HANABI_ANNOUNCE": "1"}, loaded=LOADED_FRAME)


def credentials_document(credentials: Credentials, expires: float) -> dict[str, str]:
    """Make the document for the SDKs' container credentials provider. `expires`: Unix s."""
    return {
        "AccessKeyId": credentials.access_key,
        "SecretAccessKey": credentials.secret_key,
        "Token": credentials.session_token,
        "Expiration": f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def initialization_type(*, provisioned: bool, snap_start: bool) -> str:
    return "provisioned-concurrency" if provisioned else "snap-start" if snap_start else "on-demand"


def log_variables(version: FunctionVersion) -> dict[str, str]:
    """What runtimes read of a function whose logs are JSON."""
    logs = version.json_logs
    return {} if logs is None else {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": logs.application}


def function_variables(
    image: RuntimeImage,
    version: FunctionVersion,
    credentials: Credentials,
    *,
    runtime_api: str,
    endpoint_url: str,
    endpoint_variables: Sequence[str] = (),
    task_root: str,
    log_stream: str,
    provisioned: bool = False,
    token: str | None = None,
) -> dict[str, str]:
    """Make all variables of a function. `token`: with which a SnapStart function fetches its credentials.

    AWS Lambda developer guide, "Activating and managing Lambda SnapStart": no credentials, and no names of a log, are in a snapshot.
    """
    host = runtime_api.rpartition(":")[0]
    kind = initialization_type(provisioned=provisioned, snap_start=token is not None)
    if token is None:
        own = {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_SESSION_TOKEN": credentials.session_token,
            "AWS_LAMBDA_LOG_GROUP_NAME": version.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        }
        if image.runtime in WITH_SDK_V1_NAMES:
            own |= {"AWS_ACCESS_KEY": credentials.access_key, "AWS_SECRET_KEY": credentials.secret_key}
    else:
        own = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{runtime_api}{CREDENTIALS_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
    return {
        **image.environment,
        **dict.fromkeys(endpoint_variables, endpoint_url),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{XRAY_PORT}",  # nobody listens there: what is sent is lost, quietly
        "_AWS_XRAY_DAEMON_ADDRESS": host,
        "_AWS_XRAY_DAEMON_PORT": str(XRAY_PORT),
        **version.environment,
        "_HANDLER": handler_name(image, version.container) if version.container is not None else version.handler,
        "AWS_REGION": version.region,
        "AWS_DEFAULT_REGION": version.region,
        "AWS_LAMBDA_FUNCTION_NAME": version.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(version.memory_mb),
        "AWS_LAMBDA_FUNCTION_VERSION": version.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": kind,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        **log_variables(version),
        **own,
        "LAMBDA_TASK_ROOT": task_root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
