"""The one record of an invocation: whatever fields it has, all of them are in the journal, and in the index made of it."""

import dataclasses
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from hanabi.contracts.journal import Record
from hanabi.ledger.frames import FINISH, decode, decode_record, encode
from hanabi.ledger.report import report_line
from tests.unit.ledger.support import GROUP, STREAM, open_record

FIELDS = get_type_hints(Record)


def some(kind: Any, number: int) -> Any:
    """A value of a field's type that no other field has."""
    if get_origin(kind) in (Union, types.UnionType):
        return some(get_args(kind)[0], number)
    if get_origin(kind) is tuple:
        return tuple(some(each, 100 * number + index) for index, each in enumerate(get_args(kind)))
    return {str: f'"text {number}\t\u00e9\n', int: number, float: number + 0.125}[kind]


def full_record() -> Record:
    return Record(**{name: some(kind, number) for number, (name, kind) in enumerate(FIELDS.items(), 2)})


def bare_record() -> Record:
    """As `full_record`, with None and the defaults where they may be."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Record):
        if field.default is dataclasses.MISSING:
            values[field.name] = None if type(None) in get_args(FIELDS[field.name]) else getattr(full_record(), field.name)
    return Record(**values)


@pytest.mark.parametrize("record", [full_record(), bare_record()], ids=["every field set", "as few as may be"])
async def test_every_field_survives_the_journal_and_the_index(record: Record, tmp_path: Path) -> None:
    assert set(FIELDS) == {field.name for field in dataclasses.fields(Record)}
    ((header, _, _),) = decode(encode(FINISH, GROUP, STREAM, [], record))
    assert header is not None and decode_record(header[5]) == record
    async with open_record(tmp_path) as store:
        store.journal.finish(record, GROUP, STREAM, [])
        (stored,) = await store.journal.records()
    assert stored == record
    assert report_line(stored) == report_line(record)
    assert ("Restore Duration" in report_line(stored)) is (record.restore is not None)
