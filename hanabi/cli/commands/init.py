"""hanabi init: make a folder with a function that works, and an event to try it with"""

import argparse
from pathlib import Path

from hanabi.cli.failure import Failure

PYTHON = '''"""A function: Lambda calls `lambda_handler` with each event."""

import logging

logger = logging.getLogger()
logger.setLevel("INFO")


def lambda_handler(event, context):
    """Return a greeting. `event` is the JSON that came in; what is returned goes out as JSON."""
    name = event.get("name", "world")
    logger.info("greeting %s", name)
    return {"message": f"Hello, {name}!", "requestId": context.aws_request_id}
'''
NODE = """// A function: Lambda calls `handler` with each event.

export const handler = async (event, context) => {
  const name = event.name ?? 'world';
  console.log('greeting', name);
  return { message: `Hello, ${name}!`, requestId: context.awsRequestId };
};
"""
EVENT = '{\n  "name": "hanabi"\n}\n'
FILES = {
    "python": {
        "lambda_function.py": PYTHON,
        "requirements.txt": "# What the function needs, one package a line; hanabi deploy installs it.\n",
    },
    "nodejs": {"index.mjs": NODE, "package.json": '{\n  "name": "%s",\n  "private": true,\n  "type": "module"\n}\n'},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder to make")
    parser.add_argument(
        "--language", choices=("python", "node"), default="python", help="what the function is written in (default: python)"
    )


def run(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    files = {**FILES["nodejs" if options.language == "node" else "python"], "event.json": EVENT, ".hanabiignore": "event.json\ntests/\n"}
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise Failure(f"{folder} has {', '.join(there)} already; nothing was written", 2)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text % folder.resolve().name.lower() if name == "package.json" else text)
    print(f"made {folder}: {', '.join(files)}")
    print(f"  hanabi deploy {folder}")
    print(f"  hanabi invoke {folder.resolve().name} -f {folder}/event.json --log")
    return 0
