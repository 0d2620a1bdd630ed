"""The cards whose speed is known from data sheets: what a roofline needs of them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fdan_edge.errors import ConfigError, unknown_choice

PRECISION_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
_TERA, _GIGA, _MICRO = 1e12, 1e9, 1e-6


@dataclass(frozen=True)
class Card:
    """What a roofline needs of a processor. All peaks are dense: nothing here has structured sparsity."""

    name: str
    title: str
    peaks: dict[str, float]  # precision -> operations per second, a multiply-add counted as two
    bandwidth: float  # of the memory, bytes per second
    launch: float  # s from one kernel to the next; an assumption
    fuses: bool = True  # whether its runtime does chains of pointwise operations in one kernel


# Launches: between kernels of a CUDA graph 1 to 2 us pass on desktop cards, and more on a Jetson's slower clocks.
# That is an assumption and no vendor's figure.
_DESKTOP, _JETSON = 2 * _MICRO, 5 * _MICRO


def _card(name: str, title: str, tera: tuple[float, float, float], gigabytes: float, launch: float) -> Card:
    peaks = {precision: value * _TERA for precision, value in zip(PRECISION_BYTES, tera, strict=True)}
    return Card(name, title, peaks, gigabytes * _GIGA, launch)


#: fp32 is without TF32, which our engines do not use; fp16 on tensor cores adds up in fp32, as TensorRT does in a
#: strongly typed network where it can choose. Thor is left out: its dense fp16 and int8 peaks are not published.
CARDS = {
    card.name: card
    for card in (
        # NVIDIA Ada GPU Architecture whitepaper, appendix A: 3072 CUDA and 96 tensor cores at 2.46 GHz boost;
        # 272 GB/s of GDDR6. fp16 with fp32 sums runs at half of the rate with fp16 sums on GeForce cards.
        _card("rtx4060", "GeForce RTX 4060", (15.1, 30.2, 120.9), 272, _DESKTOP),
        # The same whitepaper: 16384 CUDA and 512 tensor cores at 2.52 GHz; 82.6, 165.2 (330.4 sparse), 660.6
        # (1321.2 sparse); 1008 GB/s of GDDR6X.
        _card("rtx4090", "GeForce RTX 4090", (82.6, 165.2, 660.6), 1008, _DESKTOP),
        # Jetson Orin Nano Series data sheet DS-11105: 1024 CUDA and 32 tensor cores at 625 MHz; 20 dense
        # (40 sparse) int8 TOPS; 68 GB/s of LPDDR5. fp16 is half of int8.
        _card("orin-nano", "Jetson Orin Nano 8GB, 15 W", (1.28, 10, 20), 68, _JETSON),
        # The same module in Super mode (NVIDIA's developer blog, December 2024): 1020 MHz, 33 dense (67 sparse)
        # int8 TOPS, 17 dense fp16 TFLOPS, 102 GB/s.
        _card("orin-nano-super", "Jetson Orin Nano 8GB, Super mode", (2.09, 17, 33), 102, _JETSON),
        # Jetson AGX Orin Series technical brief: 2048 CUDA and 64 tensor cores at 1.3 GHz; 5.3 fp32 TFLOPS, 85
        # dense (170 sparse) int8 TOPS of the GPU, without its DLAs; 204.8 GB/s. fp16 is half of int8.
        _card("agx-orin", "Jetson AGX Orin 64GB, 60 W", (5.3, 42.5, 85), 204.8, _JETSON),
        # NVIDIA H100 and H200 data sheets, SXM: dense fp16 and int8 are half of the sparse 1979 TFLOPS and 3958
        # TOPS. They are here to hold estimates against a clock (benchmarks/gpu_latency.py).
        _card("h100", "H100 80GB HBM3", (67, 989.5, 1979), 3350, _DESKTOP),
        _card("h200", "H200", (67, 989.5, 1979), 4800, _DESKTOP),
    )
}


def card_of(gpu: str) -> Card | None:
    """Return the card that a driver calls so, as in `NVIDIA GeForce RTX 4060`; None where its peaks are not here.

    Drivers name a Jetson by its chip only, which does not say how fast the module may run.
    """
    titles = {card.title: card for card in CARDS.values()}
    return titles.get(gpu.removeprefix("NVIDIA "))


def find_cards(names: Iterable[str]) -> list[Card]:
    """Return the cards of some names.

    Raises:
        ConfigError: there is none of a name.
    """
    for name in names:
        if name not in CARDS:
            raise ConfigError(unknown_choice("card to estimate for", name, tuple(CARDS)))
    return [CARDS[name] for name in names]
