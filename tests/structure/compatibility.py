"""Writes docs/compatibility.md from the services themselves: `python -m tests.structure.compatibility`."""

from pathlib import Path

from hanabi.services.listing import TABLES, known_operations, listed_operations
from tests.structure.settings import EFFECTS, Setting, settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
NOTES = """## Worth knowing

- A setting that would have no effect is refused, never stored and ignored: the error names it. Default values are accepted.
- A function is `Pending` (after an update `InProgress`) until its runtime root is there: a few milliseconds, or as long as it takes to
  build the root at first use. CreateFunction and the updates answer with that state, as Lambda's do, but only when the function is ready,
  or after one second: what a program does next finds a new function `Active`. An update is shown as `InProgress`, and another one refused
  as on AWS, for 0.3 seconds at least, while invocations run what it made. To invoke a function that is still `Pending` gives
  `ResourceConflictException` (409), as on AWS.
- Inside a function `AWS_ENDPOINT_URL_LAMBDA`, `_CLOUDWATCH_LOGS`, `_IAM` and `_STS` lead to Hanabi; calls of other services go where
  they would go.
- The heap of Node.js is sized after the function's memory. `nproc`, `os.cpu_count()`, GOMAXPROCS, `os.cpus()` and `/proc/cpuinfo` show as
  many CPUs as in Lambda: 2 up to 3,008 MB, 3 up to 5,307, 4 up to 7,076, 5 up to 8,845, then 6; never more than the server may use. The
  function runs on those only, and has its share of them. `/proc/meminfo`, `free` and `os.totalmem()` show its MemorySize, and as free what
  was when it began: that does not change later, nor do the times in `/proc/stat`. In a microVM all this is the machine's own
  ([sizes](microvm.md)). In a container the system call sysinfo tells the host's memory and load: of `os.sysconf("SC_PHYS_PAGES")` and
  `os.getloadavg()` in Python, and of a JVM that is not told its heap. With `--isolation process` all of it is the host's.
- [Extensions](extensions.md) run, external and internal ones: the files in `/opt/extensions` of layers and images, and the Extensions API.
- `Code.Location` of GetFunction is a signed URL on the endpoint that the client used, good for ten minutes. A client inside a function
  gets none.
- [Layers](layers.md) have effect, with their policies; those of other accounts come from `--layer-source`. `CompatibleRuntimes` and
  `CompatibleArchitectures` filter lists, as on AWS.
- `PackageType` may be `Image`; an `ImageUri` is of any registry, or an OCI layout, or a name given by `hanabi images add`
  ([images](images.md)). `RepositoryType` is `ECR` all the same, as tools expect it.
- Function URLs are `http://127.x.y.z:<port>/`, an address each, for every program on this machine; also `http://<id>.lambda-url.localhost:<port>/`,
  which browsers and curl find by themselves. With a `--host` that is not loopback, the latter only.
  Elsewhere send the `Host` header to the endpoint's address. A URL of type `NONE` takes two AddPermission, as on AWS since
  October 2025: of `lambda:InvokeFunctionUrl` and of `lambda:InvokeFunction`, to `*`. `hanabi deploy --url` makes them.
- `PutResourcePolicy` takes an `Id`, Deny statements and all conditions; the `Resource` of each statement is what the policy is for.
  Policies of `runtime/` are not there.
- [Tenant isolation](tenants.md) has effect: an environment serves one tenant for life.
- [Code signing](code-signing.md) configurations have effect at each deployment: of code, and of the layers that a function gets. With
  `Enforce`, code without an accepted signature is refused as on AWS. With `Warn` it is deployed and logged, and
  `hanabi_signature_validation_errors_total` counts it.
- `PutRuntimeManagementConfig`: a host has one version of each runtime, and only its owner replaces it, so `Auto` and `FunctionUpdate` mean
  the same here. `Manual` takes the version that is here (`RuntimeVersionConfig`); once the owner has replaced it, such a function does not
  start, and its error says what to do.
- Capacity providers, scaling configurations and durable executions are not there: their operations answer 501, and CreateFunction refuses
  `CapacityProviderConfig`, `DurableConfig` and `AcceleratorConfig`.
- A function's role must exist and trust `lambda.amazonaws.com`, as on AWS; `--roles any` takes any ARN ([roles](cli.md#roles)).
- Identity, resource and trust policies are evaluated as AWS does it: explicit Deny, the Not elements, all condition operators, policy
  variables. Condition keys: those of `aws:` about the caller, the time, the address and tags, `aws:RequestedRegion`, `aws:UserAgent`,
  `iam:PassedToService`, `iam:AssociatedResourceArn`, `iam:PolicyARN`, `iam:ResourceTag/`, `lambda:FunctionUrlAuthType`,
  `lambda:InvokedViaFunctionUrl`, `lambda:Layer`, `lambda:Principal`, `lambda:SourceFunctionArn`, `sts:ExternalId`, `sts:RoleSessionName`;
  any other is absent. Permissions boundaries and session policies cap; across accounts both
  sides must allow. There is no organisation, and no MFA ([security](security.md)).
"""
SETTINGS = """## Settings

What each member of the requests does. *Effective*: it changes what happens, and a test shows the change. *No effect*: it is accepted, and
there is nothing that it could change here. *Stored*: it is checked, kept and shown; what it would act on is not here yet. *Refused*: the
answer says so. The declarations, with the tests, are in `hanabi/services/settings/`.
"""
OTHERS = {"CloudWatch Logs": "logs", "IAM": "iam", "STS": "sts"}


def page() -> str:
    functions, names = operations_of("lambda"), known_operations("lambda")
    assert functions <= set(names)
    lines = [
        "# Compatibility",
        "",
        "Generated from the code by `python -m tests.structure.compatibility`; `make check` fails when it is out of date.",
        "`python -m hanabi.services` prints what is registered: the action that each operation needs, the resource, the handler.",
        "",
        f"## Lambda: {len(functions)} of {len(names)} operations",
        "",
        "An operation that is not here answers 501 and names itself.",
        "",
        "| operation | |",
        "|---|---|",
        *(f"| {name} | {'yes' if name in functions else '501'} |" for name in names),
        "",
        NOTES,
        "## Other services",
        "",
        "Small parts, so that tools get past their first step.",
        "",
        "| service | operations |",
        "|---|---|",
        *(f"| {title} | {', '.join(sorted(operations_of(service)))} |" for title, service in OTHERS.items()),
        "",
        SETTINGS,
        *(line for service in TABLES for line in settings_of(service)),
    ]
    return "\n".join(lines)


def settings_of(service: str) -> list[str]:
    """The table of one service's settings, those of each operation in a row."""
    titles = {name: title for title, name in OTHERS.items()}
    rows = [(name, settings(service, name)) for name in sorted(operations_of(service))]
    return [
        f"### {titles.get(service, 'Lambda')}",
        "",
        "| operation | effective | no effect | stored | refused |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {_names(found)} | {' | '.join(_reasons(found, effect) for effect in EFFECTS[1:])} |"
            for name, found in rows
            if found
        ),
        "",
    ]


def _names(found: list[Setting]) -> str:
    return ", ".join(setting.member for setting in found if setting.effect == "effective") or "-"


def _reasons(found: list[Setting], effect: str) -> str:
    """The members that have an effect, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for setting in found:
        if setting.effect == effect:
            reasons.setdefault(setting.detail, []).append(setting.member)
    return "; ".join(f"{', '.join(members)}: {reason}" for reason, members in reasons.items()) or "-"


def operations_of(service: str) -> set[str]:
    return {each.operation for each in listed_operations() if each.service == service}


if __name__ == "__main__":
    PAGE.write_text(page())
