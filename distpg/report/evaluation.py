"""What is told of an evaluation: in a line, and as JSON."""

from typing import Any

from distpg.iteration import Evaluation
from distpg.report.interval import mean_interval
from distpg.report.numbers import format_returns


def describe(evaluation: Evaluation) -> str:
    """Say mean, deviation and interval of the returns, and the success rate if it is known."""
    mean, half = evaluation.mean_return, mean_interval(evaluation.returns)
    bounds = () if half is None else (mean - half, mean + half)
    center, std, *ends = format_returns(mean, evaluation.std_return, *bounds)
    parts = [f"return {center} +- {std}"]
    if ends:
        parts.append(f"mean within {ends[0]} to {ends[1]} (95%)")
    if "success" in evaluation.metrics:
        parts.append(f"success rate {evaluation.metrics['success']:.0%}")
    return ", ".join(parts)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Summarize as JSON values; `return_interval` is half the width of the 95% interval."""
    names = {"success": "success_rate"}
    return {
        "iteration": evaluation.iteration,
        "env_steps": evaluation.env_steps,
        "episodes": len(evaluation.returns),
        "return_mean": evaluation.mean_return,
        "return_std": evaluation.std_return,
        "return_interval": mean_interval(evaluation.returns),
        "return_min": float(min(evaluation.returns)),
        "return_max": float(max(evaluation.returns)),
        "length_mean": evaluation.mean_length,
        "cut_off": len(evaluation.cut_off),
        "metrics": {names.get(name, name): mean for name, mean in evaluation.metrics.items()},
    }
