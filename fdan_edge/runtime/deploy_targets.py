"""Where a model can run: one table that drives export, bench and doctor. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from fdan_edge.errors import ConfigError, choose

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


@dataclass(frozen=True)
class Target:
    """A kind of machine, and what a graph for it may contain."""

    name: str
    title: str
    runtime: str  # that is preferred there: onnxruntime-cpu, onnxruntime-cuda, tensorrt-rtx or tensorrt
    precisions: tuple[str, ...]  # the first is the default
    int8: str  # U8S8 or S8S8
    opsets: tuple[int, int]  # lowest and highest that is read
    ops: frozenset[str] | None  # of ONNX's own domain; None: all
    types: frozenset[str] | None  # of tensors, as in onnx.TensorProto; None: all
    engine: str | None  # flavour of TensorRT engines: rtx or trt; None: no engines
    tensorrt: tuple[str, str]  # the first version, and the first that is too new; "": any
    architectures: tuple[str, ...]  # compute capabilities
    install: str  # what a machine needs


#: TensorRT for RTX builds for each of these without a GPU: Turing, Ampere, Ada, Blackwell.
RTX_ARCHITECTURES = ("7.5", "8.6", "8.9", "12.0")

TARGETS = {
    target.name: target
    for target in (
        Target(
            "cpu", "any CPU, ONNX Runtime", "onnxruntime-cpu", ("fp32", "int8"), U8S8, (7, 23), None, None,
            None, ("", ""), (), "pip install 'fdan-edge[cpu]'",
        ),
        Target(
            "rtx", "RTX cards from Turing on, TensorRT for RTX", "tensorrt-rtx", ("fp16", "fp32", "int8"), S8S8,
            (9, 24), _OPS_10_15, _TENSORRT_TYPES, "rtx", ("1.2", ""), RTX_ARCHITECTURES,
            "pip install 'fdan-edge[rtx-run]' and an NVIDIA driver",
        ),
        Target(
            "jetson-jp6", "Jetson Orin with JetPack 6, TensorRT 10.3", "tensorrt", ("fp16", "fp32", "int8"), S8S8,
            (9, 20), _OPS_10_3, _TENSORRT_TYPES, "trt", ("10.3", "10.4"), ("8.7",),
            "on the device: JetPack 6.1 or 6.2, pip install 'fdan-edge[jetson]'",
        ),
        Target(
            "jetson-jp7", "Jetson Orin and Thor with JetPack 7, TensorRT 10.16 and later", "tensorrt",
            ("fp16", "fp32", "int8"), S8S8, (9, 24), _OPS_10_15, _TENSORRT_TYPES, "trt", ("10.16", ""),
            ("8.7", "11.0"),
            "on the device: JetPack 7.2, pip install 'fdan-edge[jetson]'",
        ),
        Target(
            "cuda", "data-centre and other CUDA cards, ONNX Runtime or classic TensorRT", "onnxruntime-cuda",
            ("fp16", "fp32", "int8"), S8S8, (9, 20), _OPS_10_3, _TENSORRT_TYPES, "trt", ("10.3", ""),
            ("7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"),
            "pip install 'fdan-edge[gpu]'; for engines: tensorrt, pycuda",
        ),
    )
}  # fmt: skip


def find_target(name: str) -> Target:
    """The target of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TARGETS:
        raise ConfigError(choose("target", name, tuple(TARGETS)))
    return TARGETS[name]


def check_precision(target: Target, precision: str) -> str:
    """The precision, if the target runs it; its default for an empty string.

    Raises:
        ConfigError: it does not.
    """
    if not precision:
        return target.precisions[0]
    if precision not in target.precisions:
        if precision not in PRECISIONS:
            raise ConfigError(choose("precision", precision, target.precisions))
        valid = ", ".join(target.precisions)
        raise ConfigError(f"target {target.name} does not run precision {precision!r}; valid: {valid}")
    return precision
