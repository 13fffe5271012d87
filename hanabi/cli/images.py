"""hanabi images: list, build and remove the runtime roots that functions run on"""

import argparse
import asyncio
import json
import sys

from hanabi.cli.failure import Failure
from hanabi.config import guest_dir, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "build", "rm"), default="list", help="default: list")
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help="such as python3.13")
    parser.add_argument("--images-dir", metavar="DIR", help="where they live (default: images/ in the data directory)")
    parser.add_argument("--json", action="store_true", help="list as a JSON array")
