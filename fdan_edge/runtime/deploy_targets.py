"""Where a model can run: one table that drives export, opening, bench and doctor. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fdan_edge.errors import ConfigError, unknown_choice

PRECISIONS = ("fp32", "fp16", "int8")
#: Of activations and weights: unsigned activations are faster on CPUs, TensorRT takes signed ones around 0.
U8S8, S8S8 = "u8s8", "s8s8"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What onnx-tensorrt's docs/operators.md marks as supported in 8.5, and LayerNormalization, which came with 8.6.
_OPS_10_3 = _words(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu
    Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div
    Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GRU HardSigmoid HardSwish
    Identity If InstanceNormalization IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop
    LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg
    NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RNN RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign
    Round Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Where Xor
    """
)
#: The same table in 10.15 has these too (STFT came with 10.5).
_OPS_10_15 = _OPS_10_3 | _words(
    """
    Attention BlackmanWindow CastLike DeformConv Gelu GroupNormalization HammingWindow HannWindow Hardmax
    IsInf Mish RMSNormalization RotaryEmbedding STFT
    """
)
_TENSORRT_TYPES = frozenset(("FLOAT", "FLOAT16", "INT8", "INT32", "INT64", "BOOL"))


def release(version: str) -> tuple[int, ...]:
    """Give major, minor and patch of a version; its build does not count. () for what is no version."""
    parts = version.split("+")[0].split(".")[:3]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of machine: what runs there, and what a graph for it may contain.

    An entry of `TARGETS` is all that export, opening, bench, doctor, the model card and the command line know of a
    target. `runtime` and `engine` must be ones that there are; a new runtime is more than an entry.
    """

    name: str  # of the command line and bundle.json: lower case, digits and hyphens
    title: str  # for people
    runtime: str  # that is preferred there: onnxruntime-cpu, onnxruntime-cuda, tensorrt-rtx or tensorrt
    also: tuple[str, ...] = ()  # further runtimes that its files are meant for
    precisions: tuple[str, ...]  # that it runs, of PRECISIONS; the first is the default
    int8: str = ""  # format of its 8-bit files: U8S8 or S8S8; "": it runs none
    opsets: tuple[int, int]  # lowest and highest that is read
    ops: frozenset[str] | None = None  # of ONNX's own domain; None: all
    types: frozenset[str] | None = None  # of tensors, as in onnx.TensorProto; None: all
    engine: str | None = None  # flavour of TensorRT engines: rtx or trt; None: no engines
    tensorrt: tuple[str, str] = ("", "")  # the first version, and the first that is too new; "": any
    architectures: tuple[str, ...] = ()  # compute capabilities for which engines are built
    processor: str = ""  # of its machines, as `platform.machine` says; "": any
    install: str  # what a machine needs, as a command where there is one

    def takes_tensorrt(self, version: str) -> bool:
        """Tell whether engines for the target are built with a version of its TensorRT."""
        first, beyond = (release(edge) for edge in self.tensorrt)
        return first <= release(version) and (not beyond or release(version) < beyond)


#: TensorRT for RTX builds for each of these without a GPU: Turing, Ampere, Ada, Blackwell.
RTX_ARCHITECTURES = ("7.5", "8.6", "8.9", "12.0")

TARGETS = {
    target.name: target
    for target in (
        Target(
            name="cpu",
            title="any CPU, ONNX Runtime",
            runtime="onnxruntime-cpu",
            precisions=("fp32", "int8"),
            int8=U8S8,
            opsets=(7, 23),
            install="pip install 'fdan-edge[cpu]'",
        ),
        Target(
            name="rtx",
            title="RTX cards from Turing on, TensorRT for RTX",
            runtime="tensorrt-rtx",
            also=("onnxruntime-cuda",),
            precisions=("fp16", "fp32", "int8"),
            int8=S8S8,
            opsets=(9, 24),
            ops=_OPS_10_15,
            types=_TENSORRT_TYPES,
            engine="rtx",
            tensorrt=("1.2", ""),
            architectures=RTX_ARCHITECTURES,
            install="pip install 'fdan-edge[rtx-run]' and an NVIDIA driver",
        ),
        Target(
            name="jetson-jp6",
            title="Jetson Orin with JetPack 6, TensorRT 10.3",
            runtime="tensorrt",
            precisions=("fp16", "fp32", "int8"),
            int8=S8S8,
            opsets=(9, 20),
            ops=_OPS_10_3,
            types=_TENSORRT_TYPES,
            engine="trt",
            tensorrt=("10.3", "10.4"),
            architectures=("8.7",),
            processor="aarch64",
            install="on the device: JetPack 6.1 or 6.2, pip install 'fdan-edge[jetson]'",
        ),
        Target(
            name="jetson-jp7",
            title="Jetson Orin and Thor with JetPack 7, TensorRT 10.16 and later",
            runtime="tensorrt",
            precisions=("fp16", "fp32", "int8"),
            int8=S8S8,
            opsets=(9, 24),
            ops=_OPS_10_15,
            types=_TENSORRT_TYPES,
            engine="trt",
            tensorrt=("10.16", ""),
            architectures=("8.7", "11.0"),
            processor="aarch64",
            install="on the device: JetPack 7.2, pip install 'fdan-edge[jetson]'",
        ),
        Target(
            name="cuda",
            title="data-centre and other CUDA cards, ONNX Runtime or classic TensorRT",
            runtime="onnxruntime-cuda",
            also=("tensorrt",),
            precisions=("fp16", "fp32", "int8"),
            int8=S8S8,
            opsets=(9, 20),
            ops=_OPS_10_3,
            types=_TENSORRT_TYPES,
            engine="trt",
            tensorrt=("10.3", ""),
            architectures=("7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"),
            install="pip install 'fdan-edge[gpu]'; for engines: tensorrt, pycuda",
        ),
    )
}


def find_target(name: str) -> Target:
    """Give the target of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TARGETS:
        raise ConfigError(unknown_choice("target", name, tuple(TARGETS)))
    return TARGETS[name]


def known_targets(names: Iterable[str]) -> list[Target]:
    """Give the targets of some names, without those that this version does not know: a later one may have more."""
    return [TARGETS[name] for name in names if name in TARGETS]


def default_precisions() -> str:
    """Say in a few words which precision each target has unless one is named, as in `cpu: fp32, others: fp16`."""
    defaults = [(name, target.precisions[0]) for name, target in TARGETS.items()]
    usual = Counter(precision for _, precision in defaults).most_common(1)[0][0]
    return ", ".join(
        [f"{name}: {precision}" for name, precision in defaults if precision != usual] + [f"others: {usual}"]
    )


def check_precision(target: Target, precision: str) -> str:
    """Give the precision, if the target runs it; its default for an empty string.

    Raises:
        ConfigError: it does not.
    """
    if not precision:
        return target.precisions[0]
    if precision not in target.precisions:
        if precision not in PRECISIONS:
            raise ConfigError(unknown_choice("precision", precision, target.precisions))
        valid = ", ".join(target.precisions)
        raise ConfigError(f"target {target.name} does not run precision {precision!r}; valid: {valid}")
    return precision
