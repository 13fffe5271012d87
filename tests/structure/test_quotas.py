"""AWS's numbers stand in one place, each with its source; the page that lists them is made of it."""

import ast

from hanabi import quotas
from hanabi.images.code import unzip
from tests.structure.quotas import PAGE, SOURCE, listed, page
from tests.structure.sources import dotted, modules

PLAIN = {1_000, 1_024, 2_000, 2_048, 3_600, 4_096, 10_000, 16_384, 20_000, 86_400_000}  # numbers that mean other things too
ELSEWHERE = {  # the same number, of something else
    ("hanabi.cli.times", 604_800),  # a week
    ("hanabi.sandbox.oci.process_image", 30_000),  # areas of memory
    ("hanabi.images.code.unzip", unzip.UNZIPPED_CODE_BYTES),  # a program that imports nothing of Hanabi
}
NOT_YET: set[str] = set()  # of what Hanabi does not have yet


def test_every_quota_names_its_source() -> None:
    assert {each.name for each in listed()} == {name for name in vars(quotas) if name.isupper()}
    assert all(each.page and each.guide for each in listed())


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.structure.quotas"


def test_every_quota_is_used() -> None:
    text = "\n".join(path.read_text() for path in modules("hanabi") if path != SOURCE)
    assert {each.name for each in listed() if each.name not in text} == NOT_YET


def test_no_number_of_aws_stands_elsewhere() -> None:
    numbers = {each.value for each in listed() if isinstance(each.value, int) and each.value > 1_000} - PLAIN
    found = {
        (dotted(path), node.value)
        for path in modules("hanabi")
        if path != SOURCE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in numbers
    }
    assert found - ELSEWHERE == set()
    assert unzip.UNZIPPED_CODE_BYTES == quotas.UNZIPPED_CODE_BYTES
