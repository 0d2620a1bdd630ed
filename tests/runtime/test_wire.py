"""The wire format of protobuf: what protobuf would read in another way is refused."""

from __future__ import annotations

import pytest
from onnx import AttributeProto

from fdan_edge.runtime.wire import NUMBER, fields, varints


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def test_fields_of_a_message() -> None:
    data = AttributeProto(name="to", i=-1, f=1.0, ints=[1, 300], s=b"text").SerializeToString()
    read = [
        (number, value if at == NUMBER else data[at:value]) for number, at, value in fields(data, 0, len(data))
    ]
    assert read == [(1, b"to"), (3, (1 << 64) - 1), (4, b"text"), (8, 1), (8, 300)]
    assert list(varints(b"\x01\xac\x02", 0, 3)) == [1, 300]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (varint((1 << 32) + 0x32) + b"\0", "has the number 536870918"),  # protobuf takes it for 6
        (b"\0\0", "has the number 0"),
        (b"\x18" + varint((1 << 64) + 8), "more than 64 bits"),  # protobuf takes it for 8
        (b"\x18" + b"\x80" * 10, "does not end"),
        (b"\x32\x05a", "longer than its message"),
        (b"\x35\0", "longer than its message"),
        (b"\x33", "of the kind 3"),
    ],
)
def test_what_is_no_message(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list(fields(data, 0, len(data)))
