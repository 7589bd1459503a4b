"""The gate: a report and a policy in, GO, NO-GO or INCONCLUSIVE out, with reasons in words.

It compares the Backward Relative Gain and the worst modality, never the mean alone. It knows no model and no server.
"""

import tomllib
from pathlib import Path

from eval import EvalError
from eval.report import Decision, Policy, Report, Verdict

DEFAULT = Path(__file__).with_name("gate.toml")
_KNOWN = ", ".join(Policy.model_fields)


def read_policy(path: Path = DEFAULT) -> Policy:
    """The policy in a TOML file; a key that is left out keeps its default. Raises EvalError."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError:
        raise EvalError(f"There is no policy file {path.name!r}; the shipped one is eval/gate.toml.") from None
    except ValueError as error:
        raise EvalError(f"{path.name} is not TOML ({error}); lines look like: worst = 0.90") from None
    if unknown := values.keys() - Policy.model_fields.keys():
        raise EvalError(f"{path.name}: unknown key {min(unknown)!r}; known: {_KNOWN}")
    for key, value in values.items():
        # More than 2 is a per cent figure typed where a share belongs.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
            raise EvalError(f"{path.name}: {key} = {value!r} is no share of an expert's score; write 0.95 for 95 %")
    return Policy(**values)


def gate(report: Report, policy: Policy) -> Verdict:
    """NO-GO when a figure is too low; else INCONCLUSIVE when an older modality has none; else GO."""
    older = report.modalities[:-1]
    failed = _too_low(report, policy)
    unknown = [one for one in older if one not in report.gains.relative]
    decision: Decision = "NO-GO" if failed else "INCONCLUSIVE" if unknown else "GO"
    reasons = failed + [f"{one} is unscored, so nobody knows whether it was forgotten." for one in unknown]
    if decision == "GO":
        reasons = _passed(report, policy)
    reasons += [f"Unscored, {name}: {why}" for name, why in report.unscored.items()]
    if report.limit is not None:
        reasons.append(f"Measured on a subset of {report.limit} items per dataset at most; leave --limit away for all.")
    return Verdict(decision=decision, reasons=tuple(reasons), policy=policy)


def _too_low(report: Report, policy: Policy) -> list[str]:
    gains, reasons = report.gains, []
    if gains.backward is not None and gains.backward < policy.backward:
        reasons.append(_average(report, policy))
    for modality, gain in sorted(gains.relative.items(), key=lambda pair: pair[1]):
        if gain < policy.worst:
            share, dataset = min((share, name) for name, share in gains.datasets[modality].items())
            reasons.append(
                f"{modality} stands at {gain:.2%} of its expert (lowest dataset: {dataset} at "
                f"{share:.2%}); the policy asks for {policy.worst:.2%} of each modality."
            )
    return reasons


def _passed(report: Report, policy: Policy) -> list[str]:
    gains = report.gains
    reasons = ["This is the first modality: there is nothing to forget."]
    if len(report.modalities) > 1:
        reasons = [_average(report, policy)]
    if gains.worst is not None:
        reasons.append(
            f"The lowest modality is {gains.worst_modality} at {gains.worst:.2%} of its expert; "
            f"the policy asks for {policy.worst:.2%}."
        )
    return reasons


def _average(report: Report, policy: Policy) -> str:
    return (
        f"The older modalities keep {report.gains.backward:.2%} of their experts' scores on average; "
        f"the policy asks for {policy.backward:.2%}."
    )
