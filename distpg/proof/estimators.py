"""The estimators to verify: every legal combination of settings, and variations of some."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from distpg.config.config import Config
from distpg.proof.scene import Scene

PSI_AND_BASELINE: tuple[dict[str, Any], ...] = (
    *(
        {"advantage": advantage, "baseline": baseline}
        for advantage in ("total_return", "reward_to_go")
        for baseline in ("none", "mean", "time", "value")
    ),
    *(
        {"advantage": "n_step", "bootstrap_steps": "inf", "baseline": baseline}
        for baseline in ("none", "mean", "time", "value")
    ),
    {"advantage": "n_step", "bootstrap_steps": 2, "baseline": "value"},
    {"advantage": "gae", "gae_lambda": 0.9, "baseline": "value"},
    {"advantage": "vtrace", "baseline": "value"},
)
SURROGATES: tuple[dict[str, Any], ...] = (
    *({"surrogate": name} for name in ("log_prob", "detached_ratio", "clip", "kl_adaptive")),
    *({"surrogate": name} for name in ("kl_fixed", "trust_region")),
    *(
        {"surrogate": "importance", "importance": kind, "rho_bar": 100.0, "c_bar": 100.0}
        for kind in ("trajectory", "per_decision", "per_step")
    ),
)
SCALINGS: tuple[dict[str, Any], ...] = tuple(
    {"loss_average": average, "normalize_advantages": normalized}
    for average in ("per_episode", "per_step")
    for normalized in (False, True)
)
PLAIN = {"surrogate": "log_prob", "loss_average": "per_episode", "normalize_advantages": False}


@dataclass(frozen=True)
class Estimator:
    """An estimator of the policy gradient, and the scene that it is verified on."""

    settings: dict[str, Any]
    scene: Scene = field(default_factory=Scene)

    @property
    def config(self) -> Config:
        """The configuration of a learner with this estimator."""
        return self.scene.config(**self.settings)

    @property
    def plain(self) -> "Estimator":
        """The same estimator without scaling by batch statistics."""
        unscaled = {name: PLAIN[name] for name in ("loss_average", "normalize_advantages")}
        return Estimator({**self.settings, **unscaled}, self.scene)

    @property
    def with_same_targets(self) -> "Estimator":
        """An estimator with the same `Targets`, to share their computation.

        At the behaviour policy's parameters they depend on the surrogate only for importance
        weights. Exact gradients are computed without this assumption.
        """
        if self.settings["surrogate"] == "importance":
            return self
        return Estimator({**self.settings, "surrogate": "log_prob"}, self.scene)

    @property
    def is_scaled(self) -> bool:
        """Whether batch statistics scale it: normalized advantages, or an average over steps."""
        return self.settings != self.plain.settings

    @property
    def name(self) -> str:
        """A short name of the settings and the scene."""
        settings, config = self.settings, self.config
        psi = {
            "n_step": f"n_step({config.bootstrap_steps})",
            "gae": f"gae({config.gae_lambda:g})",
        }.get(config.advantage, config.advantage)
        words = [psi, config.baseline, config.surrogate]
        if config.surrogate == "importance":
            words[-1] = config.importance
            if config.importance_clip is not None:
                words.append(f"weights<={config.importance_clip:g}")
        if config.advantage == "vtrace" and min(config.rho_bar, config.c_bar) < 100:
            bars = dict.fromkeys(f"{bar:g}" for bar in (config.rho_bar, config.c_bar))
            words.append(f"bars {' '.join(bars)}" if self.scene.off_policy else "")
        if settings["normalize_advantages"]:
            words.append("normalized")
        if settings["loss_average"] == "per_step":
            words.append("per_step")
        if self.scene.truncated:
            words.append("truncated")
        if self.scene.wrong_critic:
            words.append("wrong V")
        if self.scene.gamma < 1:
            words.append(f"gamma {self.scene.gamma:g}")
        return " ".join(word for word in words if word)


def combinations() -> Iterator[Estimator]:
    """Yield every legal combination of Psi, baseline, surrogate and scaling.

    Importance weights are verified off-policy, where they matter.
    """
    for psi, surrogate, scaling in product(PSI_AND_BASELINE, SURROGATES, SCALINGS):
        off_policy = surrogate["surrogate"] == "importance"
        yield Estimator({**psi, **surrogate, **scaling}, Scene(off_policy=off_policy))


def variations() -> Iterator[Estimator]:
    """Yield variations: other n and lambda, wrong critics, truncation, clipped weights, gamma."""
    critic = {"baseline": "value"}
    bootstrapped: list[dict[str, Any]] = [
        *({"advantage": "n_step", "bootstrap_steps": n, **critic} for n in (1, 2, 3, "inf")),
        *({"advantage": "gae", "gae_lambda": decay, **critic} for decay in (0.0, 0.5, 1.0)),
        {"advantage": "vtrace", **critic},
    ]
    names = ("total_return", "reward_to_go")
    returns = [psi for psi in PSI_AND_BASELINE if psi["advantage"] in names]
    for psi in bootstrapped:
        if psi not in PSI_AND_BASELINE:
            yield Estimator({**psi, **PLAIN})
        yield Estimator({**psi, **PLAIN}, Scene(wrong_critic=True))
    for psi in returns:
        if psi["baseline"] == "value":
            yield Estimator({**psi, **PLAIN}, Scene(wrong_critic=True))
    for psi in (*bootstrapped, *returns):
        yield Estimator({**psi, **PLAIN}, Scene(truncated=True))
    to_go = {"advantage": "reward_to_go", "baseline": "none", **PLAIN}
    for kind in ("trajectory", "per_decision", "per_step"):
        weights = {"surrogate": "importance", "importance": kind, "importance_clip": 1.0}
        yield Estimator({**to_go, **weights}, Scene(off_policy=True))
    weights = {"surrogate": "importance", "importance": "per_decision"}
    vtrace = {"advantage": "vtrace", **critic, **PLAIN, **weights}
    yield Estimator(vtrace, Scene(off_policy=True))
    for rho_bar, c_bar in ((1.3, 0.9), (0.9, 1.3)):
        bars = {"rho_bar": rho_bar, "c_bar": c_bar}
        yield Estimator({**vtrace, **bars}, Scene(off_policy=True, wrong_critic=True))
    yield Estimator(to_go, Scene(gamma=0.9))


def quick() -> Iterator[Estimator]:
    """Yield a subset that covers every Psi, baseline, surrogate and scaling at least once."""
    for psi in PSI_AND_BASELINE:
        yield Estimator({**psi, **PLAIN})
    gae = next(psi for psi in PSI_AND_BASELINE if psi["advantage"] == "gae")
    for surrogate in SURROGATES[1:]:
        off_policy = surrogate["surrogate"] == "importance"
        yield Estimator({**gae, **PLAIN, **surrogate}, Scene(off_policy=off_policy))
    for scaling in SCALINGS[1:]:
        yield Estimator({**gae, **PLAIN, **scaling})
    yield Estimator({**gae, **PLAIN}, Scene(truncated=True))
