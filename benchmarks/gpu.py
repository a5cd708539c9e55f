"""The learner on a GPU: the same update as on the CPU, and how near it comes to the card's limits.

    python -m benchmarks.gpu --check
    python -m benchmarks.gpu

Needs neither Ray nor an environment: batches are drawn at random. `--check` makes updates from the
same weights on the same batches on both devices; keeps results/gpu-check.json. Without it, an
update of the Nature network on 65,536 frames from host memory is timed, beside two floors measured
on the same card: to copy the frames, and to do the network's arithmetic at the rate of large
matrices (3 epochs forward and backward, and the pass that values the batch); keeps
results/gpu.json.
`--device cpu --frames 512` tries the code where there is no GPU, and keeps nothing.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results import hardware, save
from distpg.config.config import Config
from distpg.errors import InputError
from distpg.iteration import Scalars
from distpg.learner.learner import Learner
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.records import Rollout, Weights
from distpg.spaces import ActionSpec, Leaf, ObsSpec

Spaces = tuple[ObsSpec, ActionSpec]

VECTORS: Spaces = (
    ObsSpec((Leaf("obs", (), (17,), "float32", "vector"),)),
    ActionSpec("continuous", (6,), "float32", low=(-1.0,) * 6, high=(1.0,) * 6),
)
"""As HalfCheetah-v5 has."""
IMAGES: Spaces = (
    ObsSpec((Leaf("obs", (), (4, 84, 84), "uint8", "image"),)),
    ActionSpec("categorical", (), "int64", sizes=(6,), starts=(0,)),
)
"""As Atari's games have."""

TOLERANCE = 1e-4
BF16_STATISTICS = 2**-7
"""Two roundings to bf16's 8 bits."""
UNITS = {
    "train/policy_gradient_loss": 1.0,
    "train/loss": 1.0,
    "train/explained_variance": 1.0,
    "train/clip_fraction": 1.0,
    "train/approx_kl": 1e-3,
}
"""For statistics that may be near 0, what their difference is compared with at least: the size of
the terms that cancel in them; for the KL, what a cautious update comes to."""
NOISE = "train/on_policy_"
"""Begins the tags of statistics that are rounding and nothing else."""
CHECKS: dict[str, tuple[Spaces, dict[str, Any]]] = {
    "MLP, float32": (
        VECTORS,
        {
            **{"num_slots": 2, "num_envs": 4, "num_steps": 256, "num_epochs": 10},
            **{"minibatch_size": 64, "normalize_rewards": True},
        },
    ),
    "Nature CNN, float32": (
        IMAGES,
        {"num_slots": 4, "num_envs": 1, "num_steps": 8, "num_epochs": 4, "minibatch_size": None},
    ),
}
CHECKS["Nature CNN, bf16"] = (IMAGES, {**CHECKS["Nature CNN, float32"][1], "precision": "bf16"})

SLOTS, STEPS, EPOCHS = 4, 128, 3
SAMPLES_TARGET, SHARE_TARGET = 1e6, 0.5


def make_config(device: str, **settings: Any) -> Config:
    """Configure a learner that plays nothing."""
    common = {"num_workers": 0, "gradient_stats_every": 0, "sign_rewards": "off"}
    chosen: dict[str, Any] = {"algo": "ppo", "device": device, **common, **settings}
    return Config(**chosen)


def make_batch(config: Config, spaces: Spaces, weights: Weights) -> list[Rollout]:
    """Draw rollouts at random, with the probabilities that the policy gives, acting on the CPU."""
    policy = Policy(*spaces, Architecture.of(config)).for_acting()
    policy.load(weights)
    return [make_rollout(config, policy, slot) for slot in range(config.slots)]


@torch.inference_mode()
def make_rollout(config: Config, policy: Policy, slot: int) -> Rollout:
    """Draw what one slot saw and did."""
    draw = np.random.default_rng((config.seed, slot))
    steps, (leaf,) = (config.num_steps, config.num_envs), policy.obs_spec.leaves
    rows = (config.num_steps + 1, config.num_envs, *leaf.shape)
    actions = policy.action_spec
    if leaf.kind == "image":
        obs = draw.integers(0, 256, rows, dtype=np.uint8)
        chosen = draw.integers(0, actions.sizes[0], steps)
    else:
        obs = draw.standard_normal(rows, dtype=np.float32)
        chosen = draw.standard_normal((*steps, *actions.stored_shape), dtype=np.float32)
    logprobs = [
        policy({leaf.name: torch.from_numpy(row)}).log_prob(torch.from_numpy(action)).numpy()
        for row, action in zip(obs[:-1], chosen, strict=True)
    ]
    never = np.zeros(steps, bool)
    return Rollout(
        obs={leaf.name: obs},
        state=np.zeros((config.num_envs, 0), np.float32),
        actions=chosen,
        logprobs=np.stack(logprobs),
        rewards=draw.standard_normal(steps, dtype=np.float32),
        terminated=draw.random(steps) < 0.01,
        truncated=never,
        valid=~never,
        policy_version=0,
        slot=slot,
    )


# ----- the same update on both devices


Updated = tuple[dict[str, np.ndarray], Scalars]


def updated(config: Config, spaces: Spaces, batch: Sequence[Rollout]) -> Updated:
    """Make the first update; return by how much it changed each parameter, and its statistics."""
    learner = Learner(config, *spaces)

    def parameters() -> dict[str, np.ndarray]:
        named = learner.model.named_parameters()
        return {name: value.numpy(force=True).astype(np.float64) for name, value in named}

    before = parameters()
    _, update = learner.update(batch)
    return {name: after - before[name] for name, after in parameters().items()}, update.scalars


def norm(arrays: Mapping[str, np.ndarray]) -> float:
    """Return the norm of all arrays together."""
    return sum(float(np.square(array).sum()) for array in arrays.values()) ** 0.5


def whole(one: Updated, other: Updated) -> float:
    """Compare two changes of all parameters: the norm of the difference over that of the first."""
    return norm({name: change - other[0][name] for name, change in one[0].items()}) / norm(one[0])


def worst(one: Updated, other: Updated) -> float:
    """Compare them likewise, parameter tensor by tensor, and return the largest."""
    return max(
        norm({name: change - other[0][name]}) / max(norm({name: change}), 1e-30)
        for name, change in one[0].items()
    )


def statistic(one: Updated, other: Updated) -> float:
    """Return the largest relative difference of the statistics."""
    return max(
        abs(value - other[1][tag]) / max(abs(value), UNITS.get(tag, 1e-30))
        for tag, value in one[1].items()
        if not tag.startswith(NOISE)
    )


def compare(spaces: Spaces, settings: dict[str, Any], device: str, seed: int) -> dict[str, float]:
    """Make one update on the CPU, on the device, and on the CPU again with other rounding."""
    config = make_config("cpu", **settings, seed=seed, learner_threads=2)
    weights = Learner(config, *spaces).weights()
    batch = make_batch(config, spaces, weights)
    here = updated(config, spaces, batch)
    threads = 1 if device == "cpu" else 2
    there = updated(replace(config, device=device, learner_threads=threads), spaces, batch)
    found = {
        "change": worst(here, there),
        "change_together": whole(here, there),
        "statistics": statistic(here, there),
    }
    if config.precision == "bf16":
        exact = replace(config, precision="float32")
        finer = updated(exact, spaces, make_batch(exact, spaces, weights))
        found["bf16_to_float32"] = whole(here, finer)
    return found


def check(device: str, batches: int) -> bool:
    """Compare both devices on several batches, and say whether they agree.

    The middle batch is judged: where the input of a ReLU is within rounding of 0, one device lets a
    gradient pass that the other stops, which in about one batch of six moves a tensor's change by
    1e-3 or more; also between two ways to compute on a CPU. The CNN's batches are small since
    larger ones all have such inputs. In float32 the change of each parameter tensor counts.

    In bf16 each device rounds to 8 bits at other places, and Adam, which divides a gradient by its
    size, turns that into steps the other way where the gradient is smaller than the rounding. So
    the change of all parameters together may be as far from the CPU's in bf16 as that is from the
    CPU's own in float32, measured on the same batches.
    """
    name = "GPU" if device == "cuda" else "SMOKE TEST, no GPU: CPU with 1 thread"
    print(f"{name} against CPU, an update of the same weights by the same batch, {batches} batches")
    table: dict[str, Any] = {}
    for label, (spaces, settings) in CHECKS.items():
        rows = [compare(spaces, settings, device, seed) for seed in range(batches)]
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        narrow = settings.get("precision") == "bf16"
        key = "change_together" if narrow else "change"
        limits = {
            key: middle["bf16_to_float32"] if narrow else TOLERANCE,
            "statistics": BF16_STATISTICS if narrow else TOLERANCE,
        }
        agree = all(middle[kind] <= limit for kind, limit in limits.items())
        table[label] = {"agree": agree, "limits": limits, "median": middle, "batches": rows}
        print(
            f"{label:20} change of the weights {middle[key]:.1e} (<= {limits[key]:.1e}; largest "
            f"{max(row[key] for row in rows):.1e})  statistics {middle['statistics']:.1e} "
            f"(<= {limits['statistics']:.1e})  {'PASS' if agree else 'FAIL'}",
            flush=True,
        )
    if device == "cuda":
        save("gpu-check", {**hardware(), "gpu": card(), "table": table})
    return all(row["agree"] for row in table.values())


# ----- the speed of an update


def card() -> dict[str, Any]:
    """Name the GPU and what drives it."""
    return {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def seconds(device: torch.device, work: Callable[[], object], times: int = 7) -> float:
    """Return the median of the seconds that some work takes on a device, once warm."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    taken: list[float] = []
    for _ in range(times + 2):
        wait()
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def copy_rates(device: torch.device, size: int) -> dict[str, float]:
    """Measure bytes per second from host memory to the device, from pinned pages and others."""
    rates: dict[str, float] = {}
    there = torch.empty(size, dtype=torch.uint8, device=device)
    for kind in ("pageable", "pinned"):
        pinned = kind == "pinned" and device.type == "cuda"
        here = torch.ones(size, dtype=torch.uint8, pin_memory=pinned)
        rates[kind] = size / seconds(device, lambda here=here: there.copy_(here))
    return rates


def matrix_rates(device: torch.device) -> dict[str, float]:
    """Measure the floating-point operations per second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 512
    rates: dict[str, float] = {}
    for kind in ("float32", "tf32", "bf16"):
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        rates[kind] = 2 * side**3 / seconds(device, lambda one=one, other=other: one @ other)
    torch.backends.cuda.matmul.allow_tf32 = False
    return rates


def arithmetic() -> tuple[int, int]:
    """Count the operations that one frame takes: forward alone, and forward and backward."""
    learner = Learner(make_config("cpu", num_envs=1, num_steps=64, num_slots=1), *IMAGES)
    obs = {"obs": torch.zeros(1, 4, 84, 84, dtype=torch.uint8)}
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        learner.model.outputs(obs)
    with FlopCounterMode(display=False) as both:
        learner.model.outputs(obs).sum().backward()
    return forward.get_total_flops(), both.get_total_flops()


def variants(compiled: bool) -> Iterator[tuple[str, bool]]:
    """Go through the precisions, as they are and compiled."""
    for compile_ in (False, True)[: 1 + compiled]:
        for precision in ("float32", "bf16"):
            yield precision, compile_


def time_updates(config: Config, batch: Sequence[Rollout], times: int) -> dict[str, float]:
    """Update again and again from the same state; return medians, and the memory it took."""
    learner = Learner(config, *IMAGES)
    learner.compile({})
    state, rows = learner.state(), list[dict[str, float]]()
    if learner.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    # the first two warm up: with --compile, the second may compile, too
    for _ in range(2 + times):
        learner.load(state)
        began = time.perf_counter()
        _, update = learner.update(batch)
        update_s = time.perf_counter() - began
        rows.append({"update_s": update_s, "prepare_s": update.prepare_s})
    found = {key: statistics.median(row[key] for row in rows[2:]) for key in rows[0]}
    if learner.device.type == "cuda":
        found["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def speed(options: argparse.Namespace) -> None:
    """Time updates and the floors beneath them."""
    device, frames = torch.device(options.device), options.frames
    num_envs = frames // (SLOTS * STEPS)
    shape = {"num_slots": SLOTS, "num_envs": num_envs, "num_steps": STEPS, "num_epochs": EPOCHS}
    shape["minibatch_size"] = min(options.minibatch_size, frames)
    gpu = card() if device.type == "cuda" else {"name": "SMOKE TEST on the CPU, no GPU"}
    rows = SLOTS * num_envs * (STEPS + 1)
    size, (forward, both) = rows * 4 * 84 * 84, arithmetic()
    copies, matrices = copy_rates(device, size), matrix_rates(device)
    work = EPOCHS * frames * both + rows * forward
    print(f"{gpu['name']}: {frames:,} frames x {EPOCHS} epochs, {size / 1e9:.2f} GB of images")
    print("copies:   ", "  ".join(f"{kind} {x / 1e9:.1f} GB/s" for kind, x in copies.items()))
    print("matrices: ", "  ".join(f"{kind} {x / 1e12:.1f} TFLOP/s" for kind, x in matrices.items()))
    print(f"floors:    to copy {1000 * size / copies['pinned']:.1f} ms (pinned);", end="")
    print(f" arithmetic, {work / 1e12:.3g} TFLOP, in the table")
    print("                    update   of it joined,   samples/s     target  arithmetic   larger")
    print("                             copied, valued                                      floor")
    table: dict[str, Any] = {}
    batches: dict[str, list[Rollout]] = {}
    for precision, compile_ in variants(options.compile):
        on = "on" if compile_ else "off"
        config = make_config(device.type, **shape, precision=precision, compile=on)
        label = precision + (", compiled" if compile_ else "")
        if precision not in batches:
            plain = replace(config, device="cpu", compile="off")
            batches[precision] = make_batch(plain, IMAGES, Learner(plain, *IMAGES).weights())
        try:
            row = time_updates(config, batches[precision], options.updates)
        except InputError as error:
            print(f"{label:18} not measured: {error}")
            continue
        row["samples_per_s"] = EPOCHS * frames / row["update_s"]
        row["copy_floor_s"] = size / copies["pinned"]
        row["arithmetic_floor_s"] = work / matrices[precision]
        row["share"] = max(row["copy_floor_s"], row["arithmetic_floor_s"]) / row["update_s"]
        table[label] = row
        print(
            f"{label:18} {1000 * row['update_s']:7.0f} ms {1000 * row['prepare_s']:12.0f} ms "
            f"{row['samples_per_s']:11,.0f} >= {SAMPLES_TARGET:,.0f} "
            f"{1000 * row['arithmetic_floor_s']:7.1f} ms {row['share']:8.1%}, "
            f"target >= {SHARE_TARGET:.0%}",
            flush=True,
        )
    if device.type == "cuda":
        rates = {"copies_bytes_per_s": copies, "matrices_flop_per_s": matrices}
        floors = {"bytes": size, "flop": work, **rates}
        targets = {"samples_per_s": SAMPLES_TARGET, "share_of_larger_floor": SHARE_TARGET}
        content = {"gpu": gpu, "settings": shape, "floors": floors, "targets": targets}
        save("gpu", {**hardware(), **content, "table": table})


def main() -> None:
    """Check, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the CPU's update")
    parser.add_argument("--batches", type=int, default=7, help="of --check")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--frames", type=int, default=65_536)
    parser.add_argument("--minibatch-size", type=int, default=4096)
    parser.add_argument("--updates", type=int, default=7)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.frames % (SLOTS * STEPS) or options.frames < 1:
        parser.error(f"--frames: {options.frames} is no multiple of {SLOTS * STEPS}")
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees none; nothing was measured")
        sys.exit(2)
    if options.check:
        sys.exit(0 if check(options.device, options.batches) else 1)
    speed(options)


if __name__ == "__main__":
    main()
