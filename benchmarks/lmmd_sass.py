"""What the compiler made of LMMD's CUDA kernels, read off the machine code and held against limits; needs no GPU.

    python benchmarks/lmmd_sass.py build/cuda/fdan_edge/_C.abi3.so

One line for each architecture and kernel: registers; instructions that access local memory in a step of the loops
of multiply-adds; the share of multiply-adds among the instructions of such a step; and how many loads from global
memory are under way before the first one is used. The limits stand above; the exit code is 1 beyond them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Code = list[tuple[int, str]]  # address and instruction

#: Multiply-adds of a thread in a step of the inner products (in float64 also those of soft labels), and of slopes
#: times rows: cuda/lmmd_tiles.h, Shape.
STEPS = {"tiles 64x64": (512, 256), "tiles 32x32": (128, 128), "tiles float64": (64, 64, 128)}
#: Least share of multiply-adds in a step of the kernel that large calls spend their time in, by architecture.
LEAST_SHARE = {90: 0.75}
LEAST_SHARE_ELSEWHERE = 0.7
#: Most instructions in such a step that access local memory. What is spilled in all is limited by setup.py.
MOST_LOCAL = 0
#: Least loads from global memory under way at once, of the kernels that read the features.
LEAST_LOADS = 8


@dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture."""

    architecture: int
    name: str
    registers: int
    shares: tuple[float, ...]  # of multiply-adds, in a step of each loop
    local: int  # instructions that access local memory in these steps
    loads: int  # under way at once

    def faults(self) -> Iterable[str]:
        """What is beyond its limit."""
        if self.name == "tiles 64x64":
            least = LEAST_SHARE.get(self.architecture, LEAST_SHARE_ELSEWHERE)
            if len(self.shares) != 2 or min(self.shares) < least:
                yield f"multiply-adds are {told(self.shares)} of the instructions, not {least:.0%}"
            if self.local > MOST_LOCAL:
                yield f"{self.local} accesses to local memory in a step, not {MOST_LOCAL}"
        if self.name.startswith(("survey", "place")) and self.loads < LEAST_LOADS:
            yield f"{self.loads} loads at once, not {LEAST_LOADS}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; gives the exit code, 1 where a kernel is beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, help="the compiled ops")
    arguments = parser.parse_args(argv)
    tool = find_cuobjdump()
    if tool is None:
        parser.error("cuobjdump is not installed: it comes with CUDA's toolkit, and with Triton")
    made = kernels(dump(tool, "-sass", arguments.library), dump(tool, "-res-usage", arguments.library))
    if not made:
        parser.error(f"{arguments.library} has no CUDA kernels of LMMD")
    faults = [f"sm_{kernel.architecture}, {kernel.name}: {fault}" for kernel in made for fault in kernel.faults()]
    print("\n".join([*table(made), *faults]), flush=True)
    return int(bool(faults))


def find_cuobjdump() -> str | None:
    """CUDA's disassembler: of the toolkit, on the path, or Triton's."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    triton = [Path(folder) / "triton/backends/nvidia/bin" for folder in sys.path]
    places = [str(toolkit), None, *map(str, triton)]
    return next((tool for place in places if (tool := shutil.which("cuobjdump", path=place))), None)


def dump(tool: str, option: str, library: Path) -> str:
    """What cuobjdump prints; an error of its own ends the program."""
    done = subprocess.run([tool, option, str(library)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{tool} {option} {library}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout


def kernels(sass: str, usage: str) -> list[Kernel]:
    """Every kernel of LMMD, by architecture and name."""
    registers = {key: int(number) for key, number in registers_of(usage)}
    made = []
    for (architecture, symbol), code in functions(sass).items():
        name = name_of(symbol)
        if name:
            steps = [step_of(code, loop, needed) for loop, needed in main_loops(code, STEPS.get(name, ()))]
            shares, local = tuple(share for share, _ in steps), sum(count for _, count in steps)
            used = registers[architecture, symbol]
            made.append(Kernel(architecture, name, used, shares, local, loads_at_once(code)))
    return sorted(made, key=lambda kernel: (kernel.architecture, kernel.name))


def name_of(symbol: str) -> str:
    """A kernel's name for people, of its mangled one; empty for what is none of ours."""
    shape = re.search(r"5TilesINS\w*?5ShapeI([fd])Li(\d+)ELi(\d+)E", symbol)
    if shape:
        return "tiles float64" if shape[1] == "d" else f"tiles {shape[2]}x{shape[3]}"
    kind = re.search(r"device\d*(?:6|7|5)(Survey|Combine|Place)I(.*?)EE", symbol)
    kinds = {"f": "float32", "d": "float64", "HALF": "float16", "BFLOAT16": "bfloat16"}
    if not kind:
        return ""
    read = "BFLOAT16" if "BFloat16" in kind[2] else "HALF" if "Half" in kind[2] else kind[2][0]
    return f"{kind[1].lower()} {kinds[read]}" + (" in float64" if "Jobd" in symbol or "EEd" in symbol else "")


def registers_of(usage: str) -> Iterable[tuple[tuple[int, str], str]]:
    """((architecture, symbol), registers), of `cuobjdump -res-usage`."""
    architecture = 0
    for line in usage.splitlines():
        if found := re.match(r"arch = sm_(\d+)", line.strip()):
            architecture = int(found[1])
        if found := re.search(r"Function (\S+):", line):
            symbol = found[1]
        if found := re.search(r"REG:(\d+)", line):
            yield (architecture, symbol), found[1]


def functions(sass: str) -> dict[tuple[int, str], Code]:
    """The instructions of each (architecture, symbol), of `cuobjdump -sass`."""
    architecture, code = 0, Code()
    made: dict[tuple[int, str], Code] = {}
    for line in sass.splitlines():
        if found := re.match(r"\s*arch = sm_(\d+)", line):
            architecture = int(found[1])
        elif found := re.search(r"Function : (\S+)", line):
            code = made[architecture, found[1]] = []
        elif found := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", line):
            code.append((int(found[1], 16), found[2]))
    return made


def loops(code: Code) -> list[tuple[int, int]]:
    """First and last address of each loop: what a branch backwards spans."""
    branches = ((address, re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)) for address, text in code)
    return [(int(to[1], 16), address) for address, to in branches if to and int(to[1], 16) < address]


def main_loops(code: Code, needed: Sequence[int]) -> list[tuple[tuple[int, int], int]]:
    """The innermost loops with many multiply-adds of shared memory, in order, each with how many its step has."""
    every = loops(code)
    inner = [(a, b) for a, b in every if not any(a <= c and d <= b and (c, d) != (a, b) for c, d in every)]
    main = [loop for loop in inner if multiply_adds(code, loop) >= 16 and "LDS" in " ".join(within(code, loop))]
    return list(zip(main, needed, strict=False))


def within(code: Code, loop: tuple[int, int]) -> list[str]:
    return [text for address, text in code if loop[0] <= address <= loop[1]]


def multiply_adds(code: Code, loop: tuple[int, int]) -> int:
    return sum("FFMA" in text or "DFMA" in text for text in within(code, loop))


def step_of(code: Code, inner: tuple[int, int], needed: int) -> tuple[float, int]:
    """Share of multiply-adds in a step, and its instructions that access local memory.

    A step is the smallest loop about the inner one with a barrier; the inner one runs as often as its
    multiply-adds make `needed`.
    """
    around = [loop for loop in loops(code) if loop[0] <= inner[0] and inner[1] <= loop[1]]
    around = [loop for loop in around if any("BAR.SYNC" in text for text in within(code, loop))]
    step = min(around, key=lambda loop: loop[1] - loop[0])
    times = needed / multiply_adds(code, inner)
    count = len(within(code, step)) + (times - 1) * len(within(code, inner))
    return needed / count, sum(bool(re.search(r"\b(LDL|STL)\b", text)) for text in within(code, step))


def loads_at_once(code: Code) -> int:
    """Most loads from global memory that are under way before one is used, on a straight way."""
    waiting: set[str] = set()
    most = 0
    for _, text in code:
        operation, _, operands = re.sub(r"^@!?U?P\w+ ", "", text).partition(" ")
        names = re.findall(r"\bR\d+\b", operands)
        if operation.startswith(("BRA", "BAR", "EXIT", "CALL", "RET")):
            waiting.clear()
        elif operation.startswith("LDG."):
            waiting = (waiting if not waiting & set(names[1:]) else set()) | set(names[:1])
            most = max(most, len(waiting))
        elif waiting & set(names):
            waiting.clear()
    return most


def told(shares: Iterable[float]) -> str:
    return " and ".join(f"{share:.0%}" for share in shares) or "-"


def table(made: Sequence[Kernel]) -> list[str]:
    """For the terminal."""
    least = ", ".join(f"{share:.0%} on sm_{name}" for name, share in LEAST_SHARE.items())
    lines = [
        f"limits: tiles 64x64: multiply-adds >= {least}, {LEAST_SHARE_ELSEWHERE:.0%} elsewhere, of a step, and "
        f"{MOST_LOCAL} accesses to local memory in it; survey and place: loads at once >= {LEAST_LOADS}",
        f"{'':<7} {'kernel':<28} {'registers':>9} {'local':>6} {'multiply-adds':>14} {'loads':>6}",
    ]
    for k in made:
        cells = f"{k.registers:>9} {k.local if k.shares else '-':>6} {told(k.shares):>14} {k.loads:>6}"
        lines.append(f"sm_{k.architecture:<4} {k.name:<28} {cells}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
