"""Every parser of what others wrote: where its inputs come from, and what must hold when it reads one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import model_parsers, sound_parsers, text_parsers
from tests.fuzz.checks import Check, Outcome


@dataclass(frozen=True)
class Parser:
    """One parser.

    Args:
        name: of it.
        make: makes an input.
        read: reads one; see `checks.Check`.
        share: inputs of each turn, by how quickly it reads.
    """

    name: str
    make: Callable[[random.Random], bytes]
    read: Callable[[bytes, list[str]], None]
    share: int

    def input(self, seed: int, number: int) -> bytes:
        """Return an input, always the same for a seed and a number."""
        return self.make(random.Random(f"{seed} {self.name} {number}"))

    def check(self) -> Callable[[bytes], Outcome]:
        """Return what reads inputs and judges what comes of them."""
        return Check(self.read)


PARSERS = {
    parser.name: parser
    for parser in (
        Parser("kind", sound_parsers.make_sound, sound_parsers.read_kind, 300),
        Parser("wav-header", sound_parsers.make_pcm, sound_parsers.read_wav_header, 300),
        Parser("pcm-file", sound_parsers.make_pcm, sound_parsers.read_file, 150),
        Parser("encoded-file", sound_parsers.make_encoded, sound_parsers.read_file, 60),
        Parser("standard-input", sound_parsers.make_sound, sound_parsers.read_pipe, 60),
        Parser("manifest", model_parsers.make_manifest, model_parsers.read_manifest, 100),
        Parser("model-spec", model_parsers.make_spec, model_parsers.read_spec, 300),
        Parser("front-end", model_parsers.make_front_end, model_parsers.read_front_end, 200),
        Parser("onnx", model_parsers.make_onnx, model_parsers.read_onnx, 20),
        Parser("run", model_parsers.make_run, model_parsers.read_run, 40),
        Parser("checkpoint", model_parsers.make_checkpoint, model_parsers.read_checkpoint, 60),
        Parser("settings", text_parsers.make_settings, text_parsers.read_settings, 200),
        Parser("table", text_parsers.make_table, text_parsers.read_table, 40),
        Parser("corpus-table", text_parsers.make_corpus_table, text_parsers.read_corpus_table, 40),
        Parser("message", text_parsers.make_message, text_parsers.read_message, 500),
    )
}
