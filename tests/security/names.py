"""Names of functions, layers, roles and the like, in every spelling that might reach what has them."""

from collections.abc import Iterator

from tests.unit.edge.live import ACCOUNT, REGION
from tests.unit.edge.world import GROUP, ROLE

OTHER = "111111111111"
MINE, THEIRS = "mine", "theirs"  # what may be touched, what may not
LAYER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer"
MINE_GROUP, THEIRS_GROUP = f"/aws/lambda/{MINE}", f"/aws/lambda/{THEIRS}"
IAM = f"arn:aws:iam::{ACCOUNT}"


def functions_named(name: str) -> Iterator[str]:
    yield name
    for qualifier in ("", ":live", ":1", ":$LATEST", ": live", ":live ", ":LIVE"):
        for prefix in (
            *("", "function:", f"{ACCOUNT}:", f"{ACCOUNT}:function:", f"{REGION}:{ACCOUNT}:function:", f"{REGION}:function:"),
            *(f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:", f"arn:aws:lambda:{REGION}:{ACCOUNT}:", "arn:aws:lambda:"),
            *(f"arn:{p}:lambda:{REGION}:{ACCOUNT}:function:" for p in ("aws-cn", "aws-us-gov", "AWS", "aws*", "")),
            *(f"arn:aws:lambda:{r}:{ACCOUNT}:function:" for r in ("eu-west-1", "US-EAST-1", "*", "")),
            *(f"arn:aws:lambda:{REGION}:{a}:function:" for a in (OTHER, "*", "")),
            *(f"arn:aws:LAMBDA:{REGION}:{ACCOUNT}:function:", f"arn:aws:lambda:{REGION}:{ACCOUNT}:Function:", f"{OTHER}:function:"),
        ):
            yield f"{prefix}{name}{qualifier}"
    yield from (f"{name} ", f" {name}", f"{name}\n", f"{name}%00", f"{name}/", f"./{name}", f"{MINE}/../{name}", f"%74{name[1:]}")
    yield from (name.upper(), name.title(), f"{name}?Qualifier=live", f"{name}#", f"{MINE}:{name}", f"{name}\u200b", f"{MINE},{name}")


def layers_named(name: str) -> Iterator[str]:
    for number in (":1", "", ":", ":*", ": 1", ":01", ":$LATEST"):
        yield f"{name}{number}"
        for prefix in (
            *(f"arn:{p}:lambda:{REGION}:{ACCOUNT}:layer" for p in ("aws", "aws-cn", "AWS", "*", "")),
            *(f"arn:aws:lambda:{r}:{ACCOUNT}:layer" for r in ("eu-west-1", "*", "")),
            *(f"arn:aws:lambda:{REGION}:{a}:layer" for a in (OTHER, "*", "")),
            *(f"arn:aws:lambda:{REGION}:{ACCOUNT}:{kind}" for kind in ("Layer", "layers", "function")),
            *(f"{ACCOUNT}:layer", "layer"),
        ):
            yield f"{prefix}:{name}{number}"
    yield from (f"{name} ", f" {name}", f"{name}/", f"./{name}", f"{MINE}/../{name}", f"%74{name[1:]}", name.upper(), f"{name}\u200b")


def config_arn(name: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-{name:0<17}"


def configs_named(name: str) -> Iterator[str]:
    arn = config_arn(name)
    yield arn
    yield from (arn.upper(), f"{arn} ", f" {arn}", f"{arn}:", f"{arn}\n", f"{arn}%00", f"{arn}*", arn[:-1], arn.rpartition(":")[2])
    for part, others in (
        (1, ("aws-cn", "AWS", "*")),
        (3, ("eu-west-1", "*", "")),
        (4, (OTHER, "*", "")),
        (5, ("Code-Signing-Config", "function")),
    ):
        for other in others:
            pieces = arn.split(":")
            pieces[part] = other
            yield ":".join(pieces)


def groups_named(name: str) -> Iterator[str]:
    yield name
    for end in ("", ":*", ":", ":log-stream:s", ":*:*"):
        yield f"{GROUP}:{name}{end}"
        for prefix in (
            *(f"arn:{p}:logs:{REGION}:{ACCOUNT}" for p in ("aws-cn", "AWS", "*", "")),
            *(f"arn:aws:logs:{r}:{ACCOUNT}" for r in ("eu-west-1", "*", "")),
            *(f"arn:aws:logs:{REGION}:{a}" for a in (OTHER, "*", "")),
        ):
            yield f"{prefix}:log-group:{name}{end}"
        yield f"{name}{end}"
    yield from (f"{name} ", f" {name}", f"{name}/", f"/{name}", name.upper(), f"{name}\n", f"log-group:{name}", f"{name}*", f"{name}\0")


def roles_named(name: str) -> Iterator[str]:
    yield name
    yield from (f"/{name}", f"x/{name}", f"role/{name}", f"{ROLE}/{name}", f"{ROLE}/x/{name}", f"{ROLE}//{name}", f"{name} ", f"{name}/")
    yield from (name.upper(), f"{name}\n", f"arn:aws:iam::{OTHER}:role/{name}", f"arn:aws-cn:iam::{ACCOUNT}:role/{name}", f"*{name[1:]}")
    yield from (f"arn:aws:iam::{ACCOUNT}:{name}", f"arn:aws:iam::{ACCOUNT}:role{name}", f"arn:aws:iam::{ACCOUNT}:role/{MINE}/../{name}")


def policies_named(name: str) -> Iterator[str]:
    yield from (spelling.replace(":role", ":policy") for spelling in roles_named(name) if spelling.startswith("arn:"))
    yield from (name, f"policy/{name}", f"{IAM}:policy/{name}", f"{IAM}:policy/{name}/", f"{IAM}:policy//{name}", f"{IAM}:policy/x/{name}")
    yield from (f"arn:aws:iam::aws:policy/{name}", f"{IAM}:policy/{name.upper()}", f"{IAM}:policy/{name}*", f"{IAM}:policy:{name}")
