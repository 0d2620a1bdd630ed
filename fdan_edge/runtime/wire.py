"""Walk through the wire format of protobuf, for the few fields that matter. Imports no torch.

The package protobuf would take a third of the time of importing ONNX Runtime, and devices have no onnx. What is
not walked into is skipped by its length, so depth costs nothing; a length beyond its message is an error.
"""

from __future__ import annotations

from collections.abc import Iterator

# Wire types; a byte below 128 is the last of its number.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMBERS = 1 << 29  # of fields
NUMBER = -1  # in the place of `start`: the field is a number


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of a message, in order.

    Args:
        data: that holds the message.
        start, end: where the message lies.

    Yields:
        The field's number; and where its bytes start and end, or NUMBER and the value of a varint. Numbers of
        fixed length are passed over.

    Raises:
        ValueError: cut short, or no message.
    """
    while start < end:
        tag = data[start]
        start += 1
        if tag >= 128:
            tag, start = _varint(data, start - 1, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < _NUMBERS:  # protobuf would take another one that has the same lowest bits
            raise ValueError(f"a field has the number {number}")
        if kind == _BYTES:
            size = data[start] if start < end else 128
            start += 1
            if size >= 128:
                size, start = _varint(data, start - 1, end)
            stop = start + size
            if stop > end:
                raise ValueError("a field is longer than its message")
            yield number, start, stop
            start = stop
        elif kind == _VARINT:
            if start < end and data[start] < 128:
                value = data[start]
                start += 1
            else:
                value, start = _varint(data, start, end)
            yield number, NUMBER, value
        elif kind in (_FIXED32, _FIXED64):
            start += 4 if kind == _FIXED32 else 8
            if start > end:
                raise ValueError("a field is longer than its message")
        else:
            raise ValueError(f"a field is of the kind {kind}")


def varints(data: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the numbers of a packed field.

    Raises:
        ValueError: cut short.
    """
    while start < end:
        value, start = _varint(data, start, end)
        yield value


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Read a number of at most ten bytes; gives it and where it ends."""
    value = shift = 0
    for position in range(start, min(end, start + 10)):
        byte = data[position]
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:  # protobuf would drop these bits
                raise ValueError("a number has more than 64 bits")
            return value, position + 1
        shift += 7
    raise ValueError("a number does not end")
