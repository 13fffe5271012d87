"""hanabi signing-profiles: list the keys that sign code, make one, sign a zip, revoke one"""

import argparse
import json
import time
import uuid
from pathlib import Path
from zipfile import BadZipFile

from hanabi.base.key_file import read_key
from hanabi.cli.failure import Failure
from hanabi.cli.server import keys_file
from hanabi.cli.table import render
from hanabi.images.code.signed_zip import sign_zip
from hanabi.images.code.signing_keys import VALID_MONTHS, SigningProfile, SigningProfiles

ACTIONS = ("list", "create", "sign", "revoke")
MONTH_S = 30 * 86_400
HEADER = ("SIGNING PROFILE", "KEY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the profile")
    parser.add_argument("what", nargs="?", metavar="WHAT", help="to sign: a zip file; to revoke: one version of the profile (default: all)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="to sign: where to write the signed zip (default: NAME-signed.zip beside it)"
    )
    parser.add_argument("--key", metavar="FILE", help="to sign: the private key, if it was moved")
    parser.add_argument("--valid-months", metavar="N", type=int, default=VALID_MONTHS, help=f"to sign: default {VALID_MONTHS}")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    path = keys_file(options)
    profiles = SigningProfiles(path.parent)
    if options.action != "list" and not options.name:
        raise Failure("which? The name of a signing profile", 2)
    try:
        if options.action == "create":
            key = read_key(path)
            _show([profiles.create(options.name, key.account, key.region)], options.json)
        elif options.action == "sign":
            _sign(profiles, options)
        elif options.action == "revoke":
            if not profiles.revoke(options.name, options.what or ""):
                raise Failure(f"there is no such signing profile: {options.name}")
            print(f"{options.name} is revoked: what it has signed counts as unsigned from now on")
        else:
            _show(list(profiles), options.json)
    except FileNotFoundError as error:
        raise Failure(
            f"{error.filename} is not there" + (": start Hanabi with `hanabi up` first" if error.filename == str(path) else "")
        ) from None
    except PermissionError as error:
        raise Failure(f"{error.filename} may be used by its owner only: use sudo, or name your own --data-dir") from None
    except (ValueError, BadZipFile) as error:
        raise Failure(str(error), 2) from None
    return 0


def _sign(profiles: SigningProfiles, options: argparse.Namespace) -> None:
    profile = profiles.newest(options.name)
    if profile is None:
        raise Failure(f"there is no such signing profile: make it with `hanabi signing-profiles create {options.name}`")
    if not options.what:
        raise Failure("what? A zip file", 2)
    source, now = Path(options.what), time.time()
    target = Path(options.output) if options.output else source.with_name(f"{source.stem}-signed.zip")
    if target.resolve() == source.resolve():
        raise Failure("the signed zip cannot take the place of the other one", 2)
    key = Path(options.key).read_bytes() if options.key else profile.key_path.read_bytes()
    job = f"{profile.arn.rpartition(':')[0]}:/signing-jobs/{uuid.uuid4()}"
    expires = now + options.valid_months * MONTH_S
    sign_zip(source, target, key, profile.certificate, profile=profile.arn, job=job, now=now, expires=expires)
    said = {"file": str(target), "profile": profile.arn, "job": job}
    print(json.dumps(said) if options.json else f"{target} is signed by {profile.arn}")


def _show(profiles: list[SigningProfile], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"arn": profile.arn, "key": str(profile.key_path)} for profile in profiles]))
    elif profiles:
        print(render(HEADER, [(profile.arn, profile.key_path) for profile in profiles]))
    else:
        print("there are no signing profiles: make one with `hanabi signing-profiles create NAME`")
