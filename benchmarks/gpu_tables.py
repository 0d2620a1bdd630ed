"""The short tables that end `make gpu`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from lmmd_winners import winners_table


class Outcome(Protocol):
    """What a step of gpu.py tells."""

    name: str
    outcome: str
    took: float
    missing: str
    result: Any


def table(all_steps: Sequence[Outcome], stale: Collection[str] = ()) -> list[str]:
    """Every step with its outcome, and what the benchmarks found; `stale` are those of other sources than now."""
    notes = {step.name: step.missing or ("of other sources" if step.name in stale else "") for step in all_steps}
    lines = [
        f"  {step.name:<16} {step.outcome:<20} {step.took:6.0f} s  {notes[step.name]}".rstrip()
        for step in all_steps
    ]
    tables = {
        "ida": ida_table,
        "adaptation_step": training_table,
        "gpu_latency": latency_table,
        "training": loop_table,
        "lmmd_profile": profile_table,
        "lmmd": lmmd_table,
    }
    for step in all_steps:
        if step.name in tables and step.result:
            lines += ["", *(f"  {line}" for line in tables[step.name](step.result))]
    return lines


def ida_table(result: dict[str, Any]) -> list[str]:
    """Milliseconds of solvers and terms, a column for each size."""
    sizes: list[dict[str, Any]] = result["sizes"]
    names = [name for name, value in sizes[0].items() if isinstance(value, dict)]
    lines = [f"{'IDA and others, ms':<24} " + " ".join(f"{size['rows']:>14}" for size in sizes)]
    return lines + [f"{name:<24} " + " ".join(f"{size[name]['ms']:>14.3f}" for size in sizes) for name in names]


def training_table(result: dict[str, Any]) -> list[str]:
    """Milliseconds of a training step without alignment, and of what each method adds."""
    networks: dict[str, dict[str, Any]] = result["networks"]
    names = list(next(iter(networks.values())))
    lines = [f"{'training step, ms':<24} " + " ".join(f"{name:>10}" for name in names)]
    return lines + [
        f"{network:<24} " + " ".join(f"{made[name]['ms']:>10.3f}" for name in names)
        for network, made in networks.items()
    ]


def latency_table(result: dict[str, Any]) -> list[str]:
    """Host to host, every way of every model, at batch 1 and at the largest batch."""
    lines = []
    for name, made in result["models"].items():
        largest = max((row["batch"] for row in made["rows"]), default=1)
        lines.append(f"{name + ', ms':<30} {'batch':>6} {'p50':>9} {'p95':>9} {'p99':>9} {'of eager':>9}")
        for row in made["rows"]:
            if row["batch"] in (1, largest):
                times = " ".join(f"{row[key]:>9.3f}" for key in ("p50", "p95", "p99"))
                way = f"{row['precision']} {row['runtime']}"
                lines.append(f"{way:<30} {row['batch']:>6} {times} {_ratio(row):>9}")
        lines += [f"not run: {line}" for line in made["left_out"]]
    return lines


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio'][0]:.3f}" if row["ratio"] else "-"


def loop_table(result: dict[str, Any]) -> list[str]:
    """Samples per second of the recipe, of ours and of the networks alone."""
    lines = []
    for backbone, made in result.get("steps", result.get("unfinished steps", {}))["backbones"].items():
        lines.append(f"{backbone + ', training':<30} {'ms':>9} {'samples/s':>10} {'recipe':>8} {'ceiling':>8}")
        for name, way in made["ways"].items():
            if "error" in way:
                lines.append(f"{name:<30} {way['error']}")
                continue
            ratios = made["ratios"].get(name, {})
            told = (f"{ratios[key]:.2f}" if key in ratios else "" for key in ("times_recipe", "share_of_ceiling"))
            cells = " ".join(f"{cell:>8}" for cell in told)
            lines.append(f"{name:<30} {way['ms']:>9.1f} {way['samples_per_second']:>10.1f} {cells}")
    return lines


def profile_table(result: dict[str, Any]) -> list[str]:
    """Every kernel's time and how near it is to what the card could do."""
    lines = [f"{'LMMD kernels':<30} {'rows':>12} {'us':>9} {'of floor':>9} {'bound':>8}"]
    for size, made in result["sizes"].items():
        if "error" in made:
            lines.append(f"{size}: {made['error']}")
        for kernel in made.get("kernels", []):
            name = kernel["kernel"].split("(")[0][-30:]
            us, share = 1e6 * (kernel["seconds"] or 0), kernel["of_floor"] or 0
            lines.append(f"{name:<30} {size:>12} {us:>9.1f} {share:>9.2f} {kernel['bound']:>8}")
    return lines


def lmmd_table(result: dict[str, Any]) -> list[str]:
    """Every contender at every size, and who wins where."""
    lines = [f"{'LMMD forward + backward':<24} {'rows':>14} {'ms':>10} {'times ours':>10} {'MB':>9}"]
    for row in result["rows"]:
        if row["ms"] is not None:
            size = f"{row['faces']}+{row['voices']}"
            ratio, extra = row["times_fdan_edge"] or float("nan"), row["extra_mb"] or float("nan")
            lines.append(f"{row['contender']:<24} {size:>14} {row['ms']:>10.3f} {ratio:>10.2f} {extra:>9.1f}")
    return lines + (["", *winners_table(result["winners"])] if result.get("winners") else [])
