"""results.json, and each seed's raw scores as `python -m eval gain` reads them. It knows no store."""

from typing import Any

from extend.study.results import DRAWS, Figure, Results


def as_json(results: Results) -> dict[str, Any]:
    """results.json: raw scores, and the figures that follow from them, as shares."""
    rows = [
        {
            "seed": one.seed,
            "order": one.order,
            "method": one.variant,
            "checkpoints": one.checkpoints,
            "scores": one.scores,
            "relative": [{k: None if v is None else float(v[0]) for k, v in gains.items()} for gains in one.gains],
            "backward": [None if v is None else float(v[0]) for v in one.backward],
            "forward": [None if v is None else float(v[0]) for v in one.forward],
            "costs": one.costs,
            "diagnosis": one.diagnosis,
        }
        for one in results.runs
    ]
    table = [
        {
            "order": order,
            "method": text,
            "mean": _plain(results.mean(order, text)),
            "std": _plain(results.std(order, text)),
            "worst": None if (low := results.worst(order, text)) is None else {"modality": low[0]} | _plain(low[1]),
        }
        for order in results.orders
        for text in results.variants
        if results.of(order, text)
    ]
    return {"runs": rows, "table_2": table, "experts": results.experts, "serving": results.serving, "draws": DRAWS}


def as_tables(results: Results, seed: int) -> dict[str, Any]:
    """One seed's raw scores as `python -m eval gain` reads them."""
    return {
        " → ".join(order): {
            "order": order,
            "datasets": {name: results.datasets[name] for name in order},
            "experts": results.experts[seed],
            "methods": {
                one.variant: {str(i): scores for i, scores in enumerate(one.scores, start=1)}
                for one in results.runs
                if (one.order, one.seed) == (order, seed)
            },
        }
        for order in results.orders
        if any((one.order, one.seed) == (order, seed) for one in results.runs)
    }


def _plain(found: Figure | None) -> dict[str, Any]:
    return {} if found is None else vars(found)
