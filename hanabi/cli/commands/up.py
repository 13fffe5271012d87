"""hanabi up: serve the AWS endpoint on this machine until interrupted"""

import argparse
import os
import sys
from pathlib import Path

from hanabi.cli.data_directory import lock_directory
from hanabi.cli.failure import Failure
from hanabi.cli.server_file import announced
from hanabi.cli.terminal import paint
from hanabi.images.runtimes.sources import CHOICES, PENDING, REFUSE
from hanabi.node.config import AUTH, IAM, ISOLATION, ROLES, NodeSettings, SettingsError, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--insecure", action="store_true", default=None, help="allow plain HTTP on an address that is not loopback")
    parser.add_argument("--auth", choices=AUTH, help="who may call: holders of keys, or on loopback everybody (default: keys)")
    parser.add_argument("--roles", choices=ROLES, help="what roles, and URLs of type NONE, may: as on AWS, or more (default: strict)")
    parser.add_argument("--iam", choices=IAM, help="enforce: a role may what policies say, and nothing else (default: its own logs, too)")
    parser.add_argument("--isolation", choices=ISOLATION, help="how functions are kept apart (default: auto)")
    parser.add_argument("--region", help="region this Hanabi says it is (default: us-east-1)")
    parser.add_argument("--account", help="account id (default: 000000000000)")
    parser.add_argument("--no-network", action="store_true", default=None, help="give functions no way out of this host at all")
    parser.add_argument("--allow-net", action="append", metavar="CIDR", help="let functions reach a private range; may be repeated")
    parser.add_argument(
        "--runtimes", choices=CHOICES, help="where runtimes come from: AWS's base images, packages, or either (default: auto)"
    )
    parser.add_argument("--registry-mirror", metavar="HOST[/PREFIX]", help="pull AWS's base images from there")
    parser.add_argument("--runtime-images", metavar="DIR", help="take AWS's base images from OCI layouts on disk")
    parser.add_argument("--runtimes-missing", choices=(REFUSE, PENDING), help="a function whose runtime is not to be had (default: refuse)")
    parser.add_argument(
        "--runtime-substitute", action="append", metavar="R=R", help="run a runtime's functions on another; may be repeated"
    )
    parser.add_argument("--insecure-registry", action="append", metavar="HOST", help="pull images from it without TLS; may be repeated")
    parser.add_argument("--layer-source", metavar="DIR|URL", help="layers of other accounts, as `<ARN>.zip` (default: there are none)")
    parser.add_argument("--filesystem", action="append", metavar="ARN=PATH", help="a folder that FileSystemConfigs names; may be repeated")
    parser.add_argument("--vpc", action="append", metavar="ID=CIDR", help="a network that VpcConfig names; may be repeated")
    parser.add_argument("--s3-endpoint", metavar="URL", help="the S3 that code is fetched from (default: there is none)")
    parser.add_argument("--s3-credentials", metavar="FILE", help="for it, as ~/.aws/credentials (default: the AWS variables)")
    parser.add_argument("--images-dir", metavar="DIR", help="where runtime roots live (default: images/ in the data directory)")
    parser.add_argument(
        "--access-log", nargs="?", const="-", metavar="FILE", help="one line for each request; `-`, or no FILE: to standard output"
    )
    parser.add_argument("--no-prebuild", action="store_true", default=None, help="build no runtime root before a function wants it")
    parser.add_argument("--max-environments", metavar="N", help="execution environments alive at a time (default: 256)")
    parser.add_argument(
        "--max-memory-mb", metavar="MB", help="memory that all environments may have together (default: 80 %% of the host's)"
    )
    parser.add_argument("--pool-size", metavar="N", help="environments kept ready for each runtime in use (default: 2)")
    parser.add_argument("--freeze-after-ms", metavar="MS", help="freeze an environment after so long without work (default: 10)")
    parser.add_argument("--trim-after-s", metavar="S", help="let an environment give memory back after so long without work (default: 30)")
    parser.add_argument("--hibernate-after-s", metavar="S", help="write a microVM without work for so long to disk (default: 300)")
    parser.add_argument("--idle-timeout-s", metavar="S", help="shut an environment down after so long without work (default: 600)")
    parser.add_argument(
        "--stream-mb-s", metavar="MB", help="bandwidth of a streamed response after its first 6 MB; 0: no limit (default: 2)"
    )
    parser.add_argument(
        "--function-endpoint",
        metavar="WHICH",
        help="where AWS SDKs in functions call: served (services that Hanabi has lead to it; the default), hanabi (all do), none, or a URL",
    )
    parser.add_argument("--drain-s", metavar="S", help="when stopped, let what runs go on for so long (default: 60)")
    parser.add_argument("--firecracker", metavar="PATH", help="the Firecracker to use (default: what `hanabi images` has, else on PATH)")
    parser.add_argument("--jailer", metavar="PATH", help="its jailer (default: beside it)")
    parser.add_argument("--kernel", metavar="PATH", help="guest kernel, a vmlinux (default: what `hanabi images build kernel` made)")


def run(options: argparse.Namespace) -> int:
    if not sys.platform.startswith("linux"):
        raise Failure(f"Hanabi runs on Linux: its isolation is made of the Linux kernel's parts, and this is {sys.platform}")
    try:
        settings = load_settings(vars(options))
    except SettingsError as error:
        raise Failure(str(error), 2) from None
    with lock_directory(settings.data_dir):
        _serve(settings)
    return 0


def _serve(settings: NodeSettings) -> None:
    import logging

    import uvloop

    from hanabi.node.serve import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")  # to standard error

    with announced(settings.data_dir) as announcement:

        def ready(what: str) -> None:
            give_to_sudo_user(settings.keys_file)
            announcement.write(settings.port)
            print(f"{paint('hanabi ready', 'green', sys.stdout)}: {what}", flush=True)

        uvloop.run(serve(settings, ready))


def give_to_sudo_user(keys: Path) -> None:
    """Let the user behind sudo use Hanabi: `hanabi env` reads the key as that user."""
    uid = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and uid.isdecimal() and keys.exists():
        os.chown(keys, int(uid), -1, follow_symlinks=False)
