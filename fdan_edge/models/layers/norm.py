"""Batch normalisation together with the activation after it, for training on the CPU and over several processes.

A training step of a small network on the CPU spends a third of its time in normalisations and activations, which
do little but read and write memory. `BatchNormAct` reads and writes less: the compiled ops (cuda/norm_cpu.cpp)
normalise and activate in one pass, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fdan_edge.models.ops.native import native_status

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
}


#: What the compiled ops take.
NATIVE_TYPES = (torch.float32, torch.bfloat16) if native_status().cpu else ()


class BatchNormAct(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with an activation after it, of (n, c, h, w) or (n, c).

    Parameters, buffers and running statistics are those of `nn.BatchNorm2d`. In eval mode it is
    `functional.batch_norm` and the activation. `nn.SyncBatchNorm.convert_sync_batchnorm` would lose the
    activation: `group_wide` does its work, on every device.

    Args:
        width: channels.
        act: one of `ACTIVATIONS`.
        group_wide: in training, statistics are of the rows of all processes of `torch.distributed` together. Every
            process must call it as often, and differentiate it as often; they may have different numbers of rows.
        settings: as of `nn.BatchNorm2d`: eps, momentum, affine, track_running_stats.
    """

    def __init__(self, width: int, act: str = "none", *, group_wide: bool = False, **settings: Any) -> None:
        super().__init__(width, **settings)
        self.act, self.group_wide = act, group_wide
        self.frozen = False  # in training too, the running statistics are what is normalised with, and they stay

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate; the shape stays.

        Raises:
            ValueError: in training there is one value for a channel, as `nn.BatchNorm2d` says too.
        """
        if self.frozen and self.training:
            return self._as_it_is(x)
        shared = self.group_wide and self.training and dist.is_initialized() and dist.get_world_size() > 1
        if shared:
            return _uncompiled(self, x)
        if self.training and served(x) and self._is_single and not torch.compiler.is_compiling():
            return self.normalise(x, shared=False)
        return ACTIVATIONS[self.act](super().forward(x))

    def normalise(self, x: Tensor, *, shared: bool) -> Tensor:
        """Normalise as training does, with the statistics of these rows, by the compiled ops or their reference.

        Args:
            x: (n, c, h, w) or (n, c).
            shared: whether statistics are of all processes' rows.

        Raises:
            ValueError: there is one value for a channel.
        """
        self._check_input_dim(x)
        usual = self.affine and self.track_running_stats and x.numel() > x.shape[1]
        if usual and not shared and ops_for(x) is not REFERENCE:
            return cast("Tensor", _NormaliseAlone.apply(x, self.weight, self.bias, self))
        with torch.no_grad():
            moments, rows = _moments(x, shared)
            if rows < 2:
                raise ValueError(
                    f"Expected more than 1 value per channel when training, got input size {x.size()}"
                )
            self._track(moments, rows, self._share())
        weight = torch.ones_like(moments[0], dtype=torch.float32) if self.weight is None else self.weight
        bias = torch.zeros_like(moments[0], dtype=torch.float32) if self.bias is None else self.bias
        return cast("Tensor", _Normalise.apply(x, weight, bias, moments, (rows, self.eps, self.act, shared)))

    @property
    def _is_single(self) -> bool:
        """Tell whether parameters and running statistics are float32, as the compiled ops have them."""
        return all(t is None or t.dtype == torch.float32 for t in (self.weight, self.running_mean))

    def _as_it_is(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        assert mean is not None
        assert variance is not None
        if served(x) and self._is_single and not x.requires_grad and self.affine:
            moments, act = torch.stack([mean, variance]).double(), list(ACTIVATIONS).index(self.act)
            y: Tensor = torch.ops.fdan_edge.norm_apply(x, moments, 1, self.weight, self.bias, self.eps, act)
            return y
        return ACTIVATIONS[self.act](
            functional.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=self.eps)
        )

    def _share(self) -> float:
        """Return how far running statistics go towards those of the next batch."""
        if self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked.add_(1)
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _track(self, moments: Tensor, rows: int, share: float) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        self.running_mean.lerp_(moments[0].to(self.running_mean.dtype), share)
        self.running_var.lerp_((moments[1] / (rows - 1)).to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  # its name in PyTorch
        if input.dim() not in (2, 4):
            raise ValueError(f"expected 2D or 4D input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, act={self.act}, group_wide={self.group_wide}"


# torch.compiler.disable imports the compiler at once, two seconds at every start; this when it is first called.
@_disable_dynamo
def _uncompiled(norm: BatchNormAct, x: Tensor) -> Tensor:
    """Normalise over all processes: torch.compile does not look into what they exchange."""
    return norm.normalise(x, shared=True)


def served(x: Tensor) -> bool:
    """Tell whether the compiled ops take a tensor as it is."""
    return x.device.type == "cpu" and x.dtype in NATIVE_TYPES and x.is_contiguous(memory_format=_order(x))


def _order(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.dim() == 4 else torch.contiguous_format


class _Normalise(torch.autograd.Function):
    """y = act((x - mean) / deviation * weight + bias), mean and deviation being functions of x.

    With `shared` they are functions of the x of all processes, and the gradient is that of the sum of all their
    losses. Those of weight and bias are each process's own, for DistributedDataParallel to average.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, moments: Tensor, how: tuple[int, float, str, bool]
    ) -> Tensor:
        rows, eps, act, ctx.shared = how
        ctx.rows, ctx.tail = rows, (eps, list(ACTIVATIONS).index(act))
        ctx.save_for_backward(x, weight, bias, moments)
        y: Tensor = ops_for(x).norm_apply(x, moments, rows, weight, bias, *ctx.tail)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, moments = ctx.saved_tensors
        ops, tail = ops_for(x), (ctx.rows, weight, bias, *ctx.tail)
        slopes = slopes.contiguous(memory_format=_order(x))
        own = sums = ops.norm_slope_sums(slopes, x, moments, *tail)
        if ctx.shared:
            sums = own.clone()
            dist.all_reduce(sums)
        dx = ops.norm_slopes(slopes, x, moments, sums, *tail) if ctx.needs_input_grad[0] else None
        d_weight = own[1] / (moments[1] / ctx.rows + ctx.tail[0]).sqrt()
        return dx, d_weight.to(weight.dtype), own[0].to(bias.dtype), None, None


class _NormaliseAlone(torch.autograd.Function):
    """The same of one process's x, running statistics included.

    One op each way: of a small layer calls are most of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNormAct) -> Tensor:
        ctx.tail = (norm.eps, list(ACTIVATIONS).index(norm.act))
        running = (norm.running_mean, norm.running_var, norm._share())
        y, moments = torch.ops.fdan_edge.norm_forward(x, weight, bias, *running, *ctx.tail)
        ctx.save_for_backward(x, moments, weight, bias)
        return cast("Tensor", y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, moments, weight, bias = ctx.saved_tensors
        slopes = slopes.contiguous(memory_format=_order(x))
        return (*torch.ops.fdan_edge.norm_backward(slopes, x, moments, weight, bias, *ctx.tail), None)


def _moments(x: Tensor, shared: bool) -> tuple[Tensor, int]:
    """Compute the channels' means and sums of squares about them, (2, c) in float64, and count their rows."""
    moments: Tensor = ops_for(x).norm_moments(x)
    rows = x.numel() // x.shape[1]
    if not shared:
        return moments, rows
    own = torch.cat([moments.flatten(), moments.new_tensor([rows])])
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    of_all = torch.stack(gathered)
    means, squares, counts = torch.split(of_all, [x.shape[1], x.shape[1], 1], dim=1)
    mean = (means * counts).sum(0) / counts.sum()
    square = (squares + (means - mean).square() * counts).sum(0)
    return torch.stack([mean, square]), int(counts.sum())


def ops_for(x: Tensor) -> Any:
    """Return the compiled ops where they take a tensor, or `REFERENCE`."""
    return torch.ops.fdan_edge if served(x) else REFERENCE


class Reference:
    """The compiled ops in plain PyTorch, for every device, type and order in memory."""

    @staticmethod
    def norm_moments(x: Tensor) -> Tensor:
        rows = _rows(x).double()
        mean = rows.mean(0) if len(rows) else rows.new_zeros(rows.shape[1])
        return torch.stack([mean, (rows - mean).square().sum(0)])

    @staticmethod
    def norm_apply(
        x: Tensor, moments: Tensor, rows: int, weight: Tensor, bias: Tensor, eps: float, act: int
    ) -> Tensor:
        _, _, before = _before(x, moments, rows, weight, bias, eps)
        return list(ACTIVATIONS.values())[act](before).to(x.dtype)

    @staticmethod
    def norm_slope_sums(
        dy: Tensor, x: Tensor, moments: Tensor, rows: int, weight: Tensor, bias: Tensor, eps: float, act: int
    ) -> Tensor:
        centred, _, before = _before(x, moments, rows, weight, bias, eps)
        slopes = _passed(dy.to(before.dtype), before, act)
        return torch.stack([_rows(slopes).double().sum(0), _rows(slopes * centred).double().sum(0)])

    @staticmethod
    def norm_slopes(
        dy: Tensor,
        x: Tensor,
        moments: Tensor,
        sums: Tensor,
        rows: int,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        act: int,
    ) -> Tensor:
        centred, scale, before = _before(x, moments, rows, weight, bias, eps)
        slopes = _passed(dy.to(before.dtype), before, act)
        linear = _along(sums[1] / (moments[1] + eps * rows), before)
        return ((slopes - _along(sums[0] / rows, before) - centred * linear) * scale).to(x.dtype)


def _rows(x: Tensor) -> Tensor:
    """(n, c, h, w) or (n, c) as (rows, c)."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Values of channels, (c,), in the type and dimensions of x."""
    return values.to(x.dtype).view(-1, *[1] * (x.dim() - 2))


def _before(
    x: Tensor, moments: Tensor, rows: int, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """x - mean, weight / deviation, and what the activation is applied to; in float32 at least."""
    x = x if x.dtype == torch.float64 else x.float()
    scale = _along(weight / (moments[1] / rows + eps).sqrt(), x)
    centred = x - _along(moments[0], x)
    return centred, scale, centred * scale + _along(bias, x)


def _passed(slopes: Tensor, before: Tensor, act: int) -> Tensor:
    """The slopes before the activation; as PyTorch has it, none at its corners."""
    cut = torch.zeros_like(before, dtype=torch.bool)
    if act:
        cut = before <= 0 if act == 1 else (before <= 0) | (before >= 6)
    return slopes.masked_fill(cut, 0)


REFERENCE = Reference()


def fuse(network: nn.Module) -> nn.Module:
    """Make every normalisation a `BatchNormAct`, in place, with the ReLU or ReLU6 that follows it in a Sequential.

    Parameters, buffers and their names are the same. An `nn.Identity` takes the activation's place.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        following = [child for _, child in children[1:]] if isinstance(parent, nn.Sequential) else []
        for number, (name, child) in enumerate(children):
            if type(child) not in (nn.BatchNorm1d, nn.BatchNorm2d):
                continue
            after = following[number] if number < len(following) else None
            known = {nn.ReLU: "relu", nn.ReLU6: "relu6"} if isinstance(child, nn.BatchNorm2d) else {}
            act = known.get(type(after), "none") if after is not None else "none"
            setattr(parent, name, _moved(child, BatchNormAct, act=act))
            if act != "none":
                setattr(parent, children[number + 1][0], nn.Identity())
    return network


def unfuse(network: nn.Module) -> nn.Module:
    """Undo `fuse`, in place, as far as activations go: exported graphs name nodes by their modules."""
    for parent, name, norm, after in _fused(network):
        if norm.act != "none":
            _give_back(parent, name, _moved(norm, nn.BatchNorm2d), norm.act, after)
    return network


def _fused(network: nn.Module) -> list[tuple[nn.Module, str, BatchNormAct, str]]:
    """List every `BatchNormAct` with its parent, its name there, and the name of what comes next."""
    fused = []
    for parent in network.modules():
        names = [name for name, _ in parent.named_children()]
        for name, after in zip(names, [*names, ""][1:], strict=True):
            child = getattr(parent, name)
            if isinstance(child, BatchNormAct):
                fused.append((parent, name, child, after))
    return fused


def _give_back(parent: nn.Module, name: str, norm: nn.Module, act: str, after: str) -> None:
    setattr(parent, name, norm)
    if act != "none":
        setattr(parent, after, nn.ReLU() if act == "relu" else nn.ReLU6())


def _moved(norm: nn.Module, kind: type[nn.BatchNorm2d], **settings: Any) -> nn.BatchNorm2d:
    """Build another kind of normalisation that has this one's parameters and buffers."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    moved = kind(norm.num_features, eps=norm.eps, momentum=norm.momentum, **settings)
    moved.affine, moved.track_running_stats = norm.affine, norm.track_running_stats
    moved._parameters, moved._buffers = norm._parameters, norm._buffers
    return moved.train(norm.training)


def share_statistics(network: nn.Module) -> nn.Module:
    """Let the norms of a network, in place, take their statistics over all processes in training; not frozen ones.

    On a GPU they become PyTorch's SyncBatchNorm, which is for CUDA only, with the same parameters and buffers.
    """
    for parent, name, norm, after in _fused(network):
        if norm.frozen:
            continue
        if norm.running_mean is None or not norm.running_mean.is_cuda:
            norm.group_wide = True
        else:
            plain = _moved(norm, nn.BatchNorm2d)
            synced = nn.SyncBatchNorm.convert_sync_batchnorm(plain)  # type: ignore[no-untyped-call]
            _give_back(parent, name, synced, norm.act, after)
    return network
