"""`bench`: measure env, policy and learner on this machine, and report what limits a run."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

from distpg.bench.advice import NAMES, Measurement, duration, predict, verdict
from distpg.config.config import Config
from distpg.config.flags import ConfigFlags
from distpg.config.settings import Positive
from distpg.config.values import check_value
from distpg.envs.make import find_source
from distpg.errors import InputError
from distpg.report.outputs import apart_from_json
from distpg.run.loading import load_init_from
from distpg.run.preflight import check_env


@dataclass(frozen=True, kw_only=True)
class BenchFlags(ConfigFlags):
    """Measure env, policy and learner, and report what limits a run; without Ray."""

    seconds: float = 2.0
    """Seconds per measurement; at least one whole rollout and one whole update."""
    json: bool = False
    """Print one JSON object."""


def main(flags: BenchFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    config = flags.checked()
    with apart_from_json(flags.json):
        measured = bench(config, flags.seconds)
    if flags.json:
        print(json.dumps(bench_summary(config, measured)))
    else:
        print("\n".join(bench_table(config, measured)))
    return 0


def bench(config: Config, seconds: float) -> Measurement:
    """Measure what limits a run of these settings, without writing anything.

    Raises:
        InputError: the settings or the environment are invalid.
    """
    check_value("seconds", seconds, Positive)
    if config.address is not None:
        raise InputError(
            f"--address: {config.address}, but bench measures only this machine; omit it, or use "
            "--address none if a file sets it"
        )
    source = find_source(config, None)
    source, *_ = check_env(source, config.phase_timeout, config.first_other_copy)
    start_from, warnings = load_init_from(config)
    say = partial(print, file=sys.stderr)
    for warning in warnings:
        say(warning)
    from distpg.bench.measure import measure

    return measure(config, source, seconds, start_from=start_from, say=say)


def bench_summary(config: Config, measured: Measurement) -> dict[str, object]:
    """Return measurements and prediction as JSON values."""
    return {
        "algo": config.algo,
        "env_id": config.env_id,
        "num_envs": config.num_envs,
        "measured": asdict(measured)
        | {"policy_share": measured.policy_share, "samples_per_s": measured.samples_per_s},
        "predicted": asdict(predict(measured)),
        "verdict": verdict(measured),
    }


def bench_table(config: Config, measured: Measurement) -> Iterator[str]:
    """Format measurements, prediction and verdict as lines of text."""
    iteration, size_mb = predict(measured), measured.batch_bytes / 1e6
    yield (
        f"{config.env_id}, {config.algo}: --num-slots {measured.num_slots} x --num-envs "
        f"{config.num_envs}, {measured.batch_steps:,} env steps per iteration; --num-workers "
        f"{measured.num_workers}, cores {measured.cores}"
    )
    yield bench_row("stepping", measured.stepping_per_s, "env steps/s", "one slot, no policy")
    share = f"one slot; policy and buffer take {measured.policy_share:.0%} of the time"
    yield bench_row("acting", measured.acting_per_s, "env steps/s", share)
    moved = (
        f"{duration(measured.transfer_s)} per batch of {size_mb:.3g} MB: pickle and one copy, no "
        "Ray"
    )
    yield bench_row("transfer", size_mb / measured.transfer_s, "MB/s", moved)
    for device, update_s in measured.update_s.items():
        name, rate = f"update, {NAMES[device]}", measured.samples_per_s[device]
        passes = f"{duration(update_s)} per batch; passes over it: {measured.passes}"
        yield bench_row(name, rate, "samples/s", passes)
    if measured.doubled_s is not None:
        rate = measured.batch_steps * measured.passes / measured.doubled_s
        doubled = f"{duration(measured.doubled_s)} per batch, with twice the --minibatch-size"
        yield bench_row("minibatch x2", rate, "samples/s", doubled)
    parts = (
        f"{duration(iteration.collect_s)} collecting + {duration(iteration.transfer_s)} transfer + "
        f"{duration(iteration.update_s)} updating"
    )
    yield bench_row("predicted", iteration.steps_per_s, "env steps/s", parts)
    reached = f"simulation-bound maximum; the prediction reaches {iteration.limit_share:.0%} of it"
    yield bench_row("limit", iteration.limit_per_s, "env steps/s", reached)
    yield verdict(measured)


def bench_row(name: str, rate: float, unit: str, remark: str) -> str:
    """Format a row of the table."""
    return f"{name:12} {rate:>11,.0f} {unit:12} {remark}"
