"""benchmarks/lmmd_sass.py: registers, spills, loads and multiply-adds, read off what cuobjdump prints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import lmmd_sass as script  # noqa: E402

TILES = "_ZN5entryINS_6device5TilesINS2_5ShapeIfLi64ELi64ELi32ELi2EEELi5EEEfEEvNS2_3JobIT0_EE"
SURVEY = "_ZN5entryINS_6device6SurveyIfEEfEEvNS2_3JobIT0_EE"


def listing(name: str, *instructions: str) -> str:
    """What cuobjdump prints of one function; a branch to `#3` goes to the instruction of that number."""
    lines = [f"\tarch = sm_90\n\t\tFunction : {name}"]
    for number, text in enumerate(instructions):
        words = [f"0x{16 * int(word[1:]):x}" if word.startswith("#") else word for word in text.split(" ")]
        lines.append(f"        /*{16 * number:04x}*/                   {' '.join(words)} ;")
    return "\n".join(lines)


def usage(name: str, registers: int = 128) -> str:
    return f"arch = sm_90\n Function {name}:\n  REG:{registers} STACK:0 SHARED:0 LOCAL:0"


def tiles(*staging: str, others: int = 10) -> str:
    """A step of inner products, with `staging` and a loop that runs four times, and one of slopes times rows."""
    inner = [*["FFMA R1, R2, R3, R1"] * 128, "LDS.128 R4, [R5]", f"@P0 BRA #{1 + len(staging)}"]
    first = ["BAR.SYNC 0x0", *staging, *inner, "@P1 BRA #0"]
    second = [
        "BAR.SYNC 0x0",
        "LDS.128 R4, [R5]",
        *["FFMA R1, R2, R3, R1"] * 256,
        *["IADD3 R1, R1, R2, R3"] * others,
    ]
    return listing(TILES, *first, *second, f"@P2 BRA #{len(first)}")


def of(text: str, name: str) -> script.Kernel:
    (kernel,) = script.kernels(text, usage(name))
    return kernel


def test_a_step_counts_its_inner_loop_as_often_as_it_runs() -> None:
    kernel = of(tiles("IADD3 R1, R1, R2, R3"), TILES)
    assert (kernel.architecture, kernel.name, kernel.registers) == (90, "tiles 64x64", 128)
    assert kernel.shares == pytest.approx((512 / (4 * 130 + 3), 256 / 269))
    assert not list(kernel.faults())


def test_a_spill_in_a_step_is_a_fault() -> None:
    kernel = of(tiles("LDL R4, [R1]", "STL [R1], R4"), TILES)
    assert kernel.local == 2
    assert list(kernel.faults()) == ["2 accesses to local memory in a step, not 0"]


def test_too_few_multiply_adds_are_a_fault() -> None:
    assert "not 75%" in next(iter(of(tiles(others=100), TILES).faults()))


def test_a_kernel_whose_loops_are_not_recognised_is_a_fault() -> None:
    assert list(of(listing(TILES, "EXIT"), TILES).faults())


def loads(count: int = 8) -> script.Kernel:
    reads = [f"LDG.E R{i}, [R20.64]" for i in range(count)]
    return of(listing(SURVEY, *reads, "FADD R9, R0, R1"), SURVEY)


def test_loads_that_are_under_way_at_once() -> None:
    assert loads().loads == 8
    assert not list(loads().faults())
    assert list(loads(7).faults()) == ["7 loads at once, not 8"]
    text = listing(
        SURVEY, *[f"LDG.E R{i}, [R20.64]; FADD R9, R{i}, R9".split("; ")[k] for i in range(8) for k in (0, 1)]
    )
    assert of(text, SURVEY).loads == 1


def test_names_for_people() -> None:
    half = "_ZN5entryINS_6device5PlaceIN3c108BFloat16EEEfEEvNS2_3JobIT0_EE"
    assert script.name_of(half) == "place bfloat16"
    assert script.name_of(SURVEY) == "survey float32"
    assert script.name_of("_Zother") == ""


def test_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(script, "find_cuobjdump", lambda: "cuobjdump")
    for local, code in (("IADD3 R1, R1, R2, R3", 0), ("LDL R4, [R1]", 1)):
        sass = tiles(local)
        monkeypatch.setattr(
            script, "dump", lambda _tool, option, _path, sass=sass: sass if option == "-sass" else usage(TILES)
        )
        assert script.main(["library.so"]) == code
        said = capsys.readouterr().out
        assert "multiply-adds >= 75% on sm_90" in said
        assert ("accesses to local memory in a step, not 0" in said) is bool(code)
