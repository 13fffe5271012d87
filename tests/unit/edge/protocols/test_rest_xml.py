"""What is known of rest-xml, beside AWS's own models."""

import gzip
import re
from pathlib import Path

import botocore

from hanabi.edge.protocols.model import load
from hanabi.edge.protocols.rest_xml import SIGNING_NAMES


def test_which_services_speak_it() -> None:
    data = Path(botocore.__file__).parent / "data"
    speakers = set()
    for directory in data.iterdir():
        for path in sorted(directory.glob("*/service-2.json.gz"))[-1:]:
            with gzip.open(path, "rt") as file:
                head = file.read(4096)
            if re.search(r'"protocol"\s*:\s*"rest-xml"', head):
                speakers.add(directory.name)
    assert speakers > {"s3", "cloudfront", "route53"}
    assert {load(name).signing_name for name in speakers} == SIGNING_NAMES
