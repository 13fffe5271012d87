"""DER: what is written is read, and nothing malformed is."""

import pytest

from hanabi.images.code import der


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 70_000])
def test_lengths(size: int) -> None:
    whole = der.write(der.OCTETS, b"x" * size)
    assert der.read_one(whole, der.OCTETS) == b"x" * size


def test_known_encodings() -> None:
    assert der.write_oid("1.2.840.113549.1.7.2") == bytes.fromhex("06092a864886f70d010702")
    assert der.write_oid("2.16.840.1.101.3.4.2.2") == bytes.fromhex("0609608648016503040202")
    assert [der.write_integer(value).hex() for value in (0, 1, 127, 128, 256)] == ["020100", "020101", "02017f", "02020080", "02020100"]
    assert der.write_set(b"\x02\x01\x02", b"\x02\x01\x01") == bytes.fromhex("3106020101020102")


@pytest.mark.parametrize(
    "data",
    [
        b"\x04",
        b"\x04\x01",
        b"\x04\x80\x00\x00",
        b"\x04\x81",
        b"\x04\x85\x00\x00\x00\x00\x00",
        b"\x04\x84\xff\xff\xff\xff",
        b"",
        b"\x04\x00\x04\x00",
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(ValueError):
        der.read_one(data, der.OCTETS)


def test_other_kinds() -> None:
    with pytest.raises(ValueError):
        der.read_one(der.write_integer(1), der.OCTETS)
    with pytest.raises(ValueError):
        der.read_all(der.write_integer(1) * 2, der.INTEGER)
