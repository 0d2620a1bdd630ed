"""Samples as bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from fdan_edge.audio.pcm import ENCODINGS, PcmFormat
from fdan_edge.errors import ConfigError

_SUBTYPES = {"s8": "PCM_S8", "u8": "PCM_U8", "s16": "PCM_16", "s24": "PCM_24", "s32": "PCM_32", "f32": "FLOAT"}
_SUBTYPES |= {"f64": "DOUBLE", "ulaw": "ULAW", "alaw": "ALAW"}


@pytest.mark.parametrize("sample", ENCODINGS)
def test_every_byte_is_what_libsndfile_makes_of_it(sample: str) -> None:
    data = np.random.default_rng(0).bytes(48 * 500) if sample[0] != "f" else _floats(sample)
    endian = "BIG" if sample.endswith("be") else "LITTLE"
    given = {"samplerate": 16000, "channels": 2, "subtype": _SUBTYPES[sample.removesuffix("be")]}
    expected, _ = soundfile.read(io.BytesIO(data), format="RAW", endian=endian, dtype="float32", **given)
    decoded = PcmFormat(16000, 2, sample).decode(data)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, expected)


def _floats(sample: str) -> bytes:
    dtype = {"f32": "f4", "f64": "f8"}[sample.removesuffix("be")]
    values = np.random.default_rng(0).uniform(-1, 1, 4000)
    return values.astype(("<", ">")[sample.endswith("be")] + dtype).tobytes()


@pytest.mark.parametrize(
    ("name", "meant"), [("S16LE", "s16"), ("mulaw", "ulaw"), ("pcm_s24be", "s24be"), ("f32le", "f32")]
)
def test_names_of_other_programs(name: str, meant: str) -> None:
    assert PcmFormat(sample=name).sample == meant


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sample": "s12"}, "unknown format 's12'.*; valid: s8, u8, s16, s24, s32, f32, f64, ulaw, alaw, s16be"),
        ({"rate": 10}, "rate = 10: valid are 1000 to 768000 Hz"),
        ({"channels": 0}, "channels = 0: valid are 1 to 64"),
    ],
)
def test_formats_that_cannot_be(values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PcmFormat(**values)  # type: ignore[arg-type]
