"""results.md: the paper's Tables 2, 4, 5, 6 and 7 in our figures, and what each run keeps. It knows no store.

Figures are per cent of the experts' scores. A table whose rows were not run is left out.
"""

from collections.abc import Sequence
from statistics import fmean

from eval.markdown import table
from extend.study.results import Figure, Results, Run, Values, plain_variants
from extend.study.variant import variant

NOTE = (
    "Mean and standard deviation over the stages of the Backward Relative Gain, in per cent of the experts; in "
    "brackets where 95 % of the draws of test items lie. The worst modality is the lowest after the last stage."
)
MARKS = (
    "Relative Gain in per cent. ↑: better than at the stage before (positive backward transfer, §6.2). ↗: the newest "
    "modality, better than its expert (positive forward transfer). m: misaligned, f: forgotten, by the probe."
)


def page(results: Results, command: str, how: str) -> str:
    """The whole document."""
    sections = [
        "# The study",
        f"{_learned(results)}; {how}.",
        "![Backward Relative Gain by stage](backward.png) ![Forward Relative Gain by stage](forward.png)",
        f"    {command}",
        *_main(results),
        *_ablation(results),
        *_realigning(results),
        *_noise(results),
        *_beyond(results),
        *_costs(results),
        "## What is kept, stage by stage",
        MARKS,
        *(_matrix(one) for one in results.runs),
    ]
    return "\n\n".join(sections) + "\n"


def _learned(results: Results) -> str:
    seeds = sorted({one.seed for one in results.runs})
    return f"{len(results.runs)} whole runs over {', '.join(results.datasets)}; seeds {', '.join(map(str, seeds))}"


def rows_of(results: Results, variants: Sequence[str]) -> str:
    """Mean, std and the worst modality, for each order."""
    heads = [f"{' → '.join(order)}: {what}" for order in results.orders for what in ("mean", "std", "worst")]
    rows = []
    for text in variants:
        row = [text]
        for order in results.orders:
            low = results.worst(order, text)
            row += [_interval(results.mean(order, text)), _percent(results.std(order, text))]
            row += ["–" if low is None else f"{low[0]} {_interval(low[1])}"]
        rows.append(row)
    return table(["method", *heads], rows)


def _main(results: Results) -> list[str]:
    plain = plain_variants(results)
    parts = ["## Table 2: what is kept of what was learned before", rows_of(results, plain), NOTE]
    best = [text for text in plain if variant(text).method == "mera"]
    sure = [line for order in results.orders for text in best[:1] for line in _against(results, order, text, plain)]
    return [*parts, "\n".join(sure)] if sure else parts


def _against(results: Results, order: Sequence[str], text: str, others: Sequence[str]) -> list[str]:
    """In how many draws a variant is ahead of each other method."""
    return [
        f"- {' → '.join(order)}: {text} is ahead of {other} in {share:.1%} of the draws."
        for other in others
        if variant(other).method != variant(text).method and (share := results.better(order, text, other)) is not None
    ]


def _ablation(results: Results) -> list[str]:
    wanted = ["finetune", "merge", "finetune+realign", "mera", "mera@0.1"]
    there = [text for text in wanted if text in results.variants]
    return ["## Table 4: merging and realigning apart", rows_of(results, there)] if len(there) > 2 else []


def _realigning(results: Results) -> list[str]:
    rows = []
    for text in results.variants:
        with_it = f"{text}+realign"
        if with_it in results.variants:
            rows += [
                [name, *(_interval(results.mean(order, name)) for order in results.orders)] for name in (text, with_it)
            ]
    heads = [" → ".join(order) for order in results.orders]
    return ["## Table 5: realigning after any method", table(["method", *heads], rows)] if rows else []


def _noise(results: Results) -> list[str]:
    noisy = [text for text in results.variants if "noise" in dict(variant(text).options)]
    clean = [text for text in results.variants if any(one.startswith(f"{text}+noise") for one in noisy)]
    return ["## Table 7: mispaired replay data", rows_of(results, [*clean, *noisy])] if noisy else []


def _beyond(results: Results) -> list[str]:
    new = [text for text in results.variants if {"sweep", "connectors", "worst"} & dict(variant(text).options).keys()]
    bases = list(dict.fromkeys(text.split("+")[0] for text in new))
    there = [text for text in bases if text in results.variants]
    return ["## Past the paper", rows_of(results, [*there, *new])] if new else []


def _costs(results: Results) -> list[str]:
    """Table 6. The clock is shared by all processes of a study, so CPU time is what compares."""
    sums = {text: _cost([one for one in results.runs if one.variant == text]) for text in results.variants}
    base = sums.get("finetune")
    rows = []
    for text, (peak, wall, cpu) in sums.items():
        ratio = f"{cpu / base[2]:.2f}" if base and base[2] else "–"
        served = results.serving.get(text)
        latency = ["–"] * 3
        if served:
            ends = [f"{1000 * one['seconds_per_token']:.1f}" for one in served]
            latency = [f"{served[-1]['peak_bytes'] / 1e6:.0f} MB", *ends]
        rows.append([text, f"{peak / 1e6:.0f} MB", f"{wall:.1f} s", f"{cpu:.1f} s", ratio, *latency])
    heads = ["method", "peak", "clock", "CPU", "CPU / finetune", "serving peak", "ms a token, 1 modality", "ms, all"]
    note = (
        "Training: the largest phase's peak, and the phases' time over all stages, a mean of the runs. Serving: a "
        "batch of one on the transformers engine, the median of its steps."
    )
    return ["## Table 6: what it costs", table(heads, rows), note] if rows else []


def _cost(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Peak, seconds on the clock and of the CPU."""
    peak = max(stage["peak_bytes"] for one in runs for stage in one.costs)
    times = [fmean(sum(stage[key] for stage in one.costs) for one in runs) for key in ("seconds", "cpu_seconds")]
    return peak, times[0], times[1]


def _matrix(one: Run) -> str:
    rows = []
    for name in one.order:
        cells = []
        for i, gains in enumerate(one.gains):
            value = gains.get(name)
            before = one.gains[i - 1].get(name) if i else None
            mark = {"misaligned": " m", "forgotten": " f"}.get(one.diagnosis[i].get(name, ""), "")
            cells.append("" if name not in gains else _cell(value, before, newest=one.order[i] == name) + mark)
        rows.append([name, *cells])
    heads = [f"{one.variant}, seed {one.seed}", *(f"stage {i}" for i in range(1, len(one.order) + 1))]
    return table(heads, rows)


def _cell(value: Values | None, before: Values | None, newest: bool) -> str:
    if value is None:
        return "–"
    better = before is not None and value[0] > before[0]
    return f"{100 * value[0]:.1f}" + (" ↑" if better else " ↗" if newest and value[0] > 1 else "")


def _interval(found: Figure | None) -> str:
    return "–" if found is None else f"{100 * found.value:.2f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _percent(found: Figure | None) -> str:
    return "–" if found is None else f"{100 * found.value:.2f}"
