"""IDA: the solver against other solvers, the term against other terms, and how near the solver comes.

    python benchmarks/ida.py --out benchmarks/results/ida.json
    python benchmarks/ida.py --device cuda --budget-seconds 1

Times are medians of calls by turns with the others. Solvers are asked for the same certainty: the largest duality
gap of a row that `sparse_codes` leaves after `--iterations`, or `--gap` where it leaves less. FISTA has a restart
of its momentum for each row; scikit-learn is given the Gram matrix and all rows, which it takes one by one.
Terms are timed forward and backward. `share_of_a_step` takes a network's own features and the time of its step.
On a GPU every call is waited for. There scikit-learn, which it does not serve, ISTA and the table of convergence,
whose answer is the CPU's, are left out.

Features are synthetic, of unit length: random directions, rows about a common mean (cosine 0.5 and 0.98), and rows
in seven classes about such a mean, which is what is timed: it is nearest to a trained network's, and hardest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fdan_edge.models.ops.lmmd import lmmd
from fdan_edge.training.domain_alignment import coral, ida, mmd
from fdan_edge.training.sparse_coding import duality_gap, sparse_codes
from fdan_edge.utils import messages
from fdan_edge.utils.files import write_json
from fdan_edge.utils.machine import machine_info

CLASSES = 7
KINDS = {"random": (0.0, 0.0), "mean": (1.0, 0.0), "large mean": (7.0, 0.0), "classes": (1.0, 1.0)}
#: Guessed before the first run: times over that of sparse_codes for solvers, over that of ida for terms.
PREDICTED = {
    "32+32": {"sklearn": 5, "fista": 2, "ista": 20, "mmd": 0.1, "lmmd": 0.1, "coral": 0.2},
    "cuda 32+32": {"fista": 10, "mmd": 0.05, "lmmd": 0.05, "coral": 0.15},
}

Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 128, 512], help="rows of each side")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--tau", type=float, default=0.1)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--gap", type=float, default=1e-4)
    parser.add_argument("--most-iterations", type=int, default=6400, help="of FISTA and ISTA")
    parser.add_argument("--budget-seconds", type=float, default=3.0, help="of timed calls of a contender")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as torch chooses")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    on_cpu = arguments.device == "cpu"
    if not on_cpu and not torch.cuda.is_available():
        parser.error("no CUDA GPU that this PyTorch can use")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_info() | ({} if on_cpu else {"gpu": torch.cuda.get_device_name()}),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "predicted": PREDICTED,
        "convergence": [row for kind in KINDS for row in convergence(kind, 128, arguments)] if on_cpu else [],
        "sizes": [],
    }
    for rows in arguments.sizes:
        result["sizes"].append(one_size(rows, arguments))
        if arguments.out:  # after every size: a run that is stopped leaves what it has
            write_json(arguments.out, result)


def features(kind: str, rows: int, dim: int, seed: int) -> Tensor:
    """Rows of unit length whose mean and class centres are the same for every seed."""
    shared, chance = (torch.Generator().manual_seed(number) for number in (0, seed))
    mean, spread = KINDS[kind]
    centres = mean * torch.randn(dim, generator=shared) + spread * torch.randn(CLASSES, dim, generator=shared)
    noise = (0.3 if spread else 1.0) * torch.randn(rows, dim, generator=chance)
    return functional.normalize(centres[labels(rows)] + noise, dim=1)


def labels(rows: int) -> Tensor:
    return torch.arange(rows) % CLASSES


def objective(signals: Tensor, atoms: Tensor, codes: Tensor, tau: float) -> Tensor:
    codes = codes.double()
    return (signals.double() - codes @ atoms.double()).square().sum(dim=1) + tau * codes.abs().sum(dim=1)


def convergence(kind: str, rows: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """By how much the worst row is above the least objective, as a share of it, after more and more iterations."""
    signals, atoms = (features(kind, rows, arguments.dim, seed) for seed in (1, 2))
    problem = signals, atoms, arguments.tau
    least = objective(
        signals, atoms, sparse_codes(signals.double(), atoms.double(), arguments.tau, 5000), problem[2]
    )
    made = []
    for iterations in (25, 50, 100, 200):
        row: dict[str, Any] = {"features": kind, "rows": rows, "iterations": iterations}
        ways: dict[str, Callable[[Tensor, Tensor, float, int], Tensor]] = {
            "sparse_codes": sparse_codes,
            "fista": fista,
            "ista": ista,
        }
        for name, solve in ways.items():
            codes = solve(*problem, iterations)
            above = (objective(signals, atoms, codes, problem[2]) - least) / least
            gap = duality_gap(signals, atoms, codes, problem[2])
            row[name] = {"above": rounded(float(above.max().clamp_min(0))), "gap": rounded(float(gap.max()))}
        print(row, flush=True)
        made.append(row)
    return made


@torch.no_grad()
def fista(signals: Tensor, atoms: Tensor, tau: float, iterations: int, *, momentum: bool = True) -> Tensor:
    """FISTA (Beck & Teboulle 2009), each row's momentum restarted by its gradient (O'Donoghue & Candes 2015)."""
    gram, towards = atoms @ atoms.T, signals @ atoms.T
    # Within 10 % of the largest eigenvalue where rows share a mean. A number, for which a GPU is waited once.
    step = 1 / (2 * float(gram.abs().sum(dim=1).max()))
    codes = ahead = torch.zeros_like(towards)
    t = towards.new_ones(len(signals), 1)
    for _ in range(iterations):
        moved = torch.addmm(ahead + 2 * step * towards, ahead, gram, alpha=-2 * step)
        new = functional.softshrink(moved, tau * step)
        if momentum:
            restart = ((ahead - new) * (new - codes)).sum(dim=1, keepdim=True) > 0
            t = torch.where(restart, 1.0, t)
            after = (1 + (1 + 4 * t * t).sqrt()) / 2
            ahead = torch.addcmul(new, torch.where(restart, 0.0, (t - 1) / after), new - codes)
            codes, t = new, after
        else:
            codes = ahead = new
    return codes


def ista(signals: Tensor, atoms: Tensor, tau: float, iterations: int) -> Tensor:
    return fista(signals, atoms, tau, iterations, momentum=False)


def sklearn_codes(signals: Tensor, atoms: Tensor, tau: float, tolerance: float) -> Tensor:
    """By coordinate descent, row by row."""
    from sklearn.linear_model import Lasso

    x = atoms.T.contiguous().numpy()
    alpha = tau / (2 * len(x))
    model = Lasso(alpha=alpha, fit_intercept=False, precompute=x.T @ x, tol=tolerance, max_iter=100_000)
    with warnings.catch_warnings():  # of rows that float32 cannot bring to the tolerance
        warnings.simplefilter("ignore")
        model.fit(x, signals.T.numpy())
    return torch.from_numpy(model.coef_).reshape(len(signals), len(atoms))


def one_size(rows: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every solver and every term on one batch of `rows` + `rows`."""
    source, target = (features("classes", rows, arguments.dim, seed).to(arguments.device) for seed in (1, 2))
    problem = target, source, arguments.tau
    ours = float(duality_gap(target, source, sparse_codes(*problem, arguments.iterations), arguments.tau).max())
    wanted = max(ours, arguments.gap)
    solvers = solvers_for(problem, wanted, arguments)
    calls: dict[str, Call] = {name: partial(solve, n) for name, (n, solve) in solvers.items()}
    calls |= {name: step(term, source, target) for name, term in terms(rows, arguments).items()}
    ms = time_by_turns(calls, arguments.budget_seconds)
    made: dict[str, Any] = {"rows": f"{rows}+{rows}", "gap_wanted": rounded(wanted), "load": os.getloadavg()[0]}
    for name in calls:
        beside = "sparse_codes" if name in solvers else "ida"
        made[name] = {"ms": rounded(ms[name]), f"times_{beside}": rounded(ms[name] / ms[beside])}
        if name in solvers:
            setting, solve = solvers[name]
            gap = float(duality_gap(target, source, solve(setting), arguments.tau).max())
            made[name] |= {"tolerance" if name == "sklearn" else "iterations": setting, "gap": rounded(gap)}
        print(f"{made['rows']:>9} {name:13} {made[name]}", flush=True)
    return made


def solvers_for(
    problem: tuple[Tensor, Tensor, float], wanted: float, arguments: argparse.Namespace
) -> dict[str, tuple[float, Callable[[float], Tensor]]]:
    """Every solver with its iterations, or its tolerance, that leave no more than the wanted gap."""
    solvers: dict[str, tuple[float, Callable[[float], Tensor]]] = {
        "sparse_codes": (arguments.iterations, lambda n: sparse_codes(*problem, int(n))),
        "fista": (iterations_for(fista, problem, wanted, arguments), lambda n: fista(*problem, int(n))),
    }
    if arguments.device == "cpu":
        solvers |= {
            "ista": (iterations_for(ista, problem, wanted, arguments), lambda n: ista(*problem, int(n))),
            "sklearn": (tolerance_for(problem, wanted), lambda n: sklearn_codes(*problem, n)),
        }
    return solvers


def terms(rows: int, arguments: argparse.Namespace) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    y = labels(rows).to(arguments.device)
    return {
        "ida": lambda s, t: ida(s, t, arguments.tau, arguments.iterations),
        "mmd": mmd,
        "lmmd": lambda s, t: lmmd(s, t, y, y, CLASSES),
        "coral": coral,
    }


def step(term: Callable[[Tensor, Tensor], Tensor], z_source: Tensor, z_target: Tensor) -> Call:
    """Forward and backward."""
    sides = [z.clone().requires_grad_() for z in (z_source, z_target)]
    return lambda: torch.autograd.grad(term(*sides), sides)


def share_of_a_step(z_source: Tensor, z_target: Tensor, step_ms: float, **settings: Any) -> dict[str, float]:
    """Milliseconds of IDA on a network's own features, and its share of a training step that includes it."""
    ms = time_by_turns({"ida": step(lambda s, t: ida(s, t, **settings), z_source, z_target)}, 1.0)["ida"]
    return {"ms": ms, "share": ms / step_ms}


def iterations_for(
    solve: Callable[[Tensor, Tensor, float, int], Tensor],
    problem: tuple[Tensor, Tensor, float],
    gap: float,
    arguments: argparse.Namespace,
) -> int:
    """How many a solver needs for a gap, as 25 times a power of two; the most that are allowed where none do."""
    iterations = 25
    while iterations < arguments.most_iterations:
        if float(duality_gap(*problem[:2], solve(*problem, iterations), problem[2]).max()) <= gap:
            break
        iterations *= 2
    return min(iterations, int(arguments.most_iterations))


def tolerance_for(problem: tuple[Tensor, Tensor, float], gap: float) -> float:
    """The largest power of ten with which scikit-learn comes as near; 1e-7 where none does."""
    for power in range(1, 7):
        codes = sklearn_codes(*problem, 10.0**-power)
        if float(duality_gap(*problem[:2], codes, problem[2]).max()) <= gap:
            return 10.0**-power
    return 1e-7


def time_by_turns(calls: dict[str, Call], budget: float) -> dict[str, float]:
    """Median milliseconds of each call; after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    wait()
    waiting: Sequence[str] = list(calls)
    while waiting:
        for name in waiting:
            start = time.perf_counter()
            calls[name]()
            wait()
            seconds[name].append(time.perf_counter() - start)
        waiting = [n for n in waiting if sum(seconds[n]) < budget and len(seconds[n]) < 300]
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def wait() -> None:
    """For a GPU, where one is used."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    with messages.shown():
        main()
