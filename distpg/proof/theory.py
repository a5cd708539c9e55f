"""What an estimator's expectation is by the policy gradient theorem; no sampling, no learner code.

The sum over nodes and actions of reach(s) * grad pi(a|s) * q(s, a), where q is what Psi is worth on
average after action a in node s. Tables [S, A] in float64; gradients are in tabular softmax logits.
"""

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.proof.estimators import Estimator
from distpg.proof.scene import Scene


def aim(estimator: Estimator) -> Tensor:
    """Return the gradient of the expected return that an estimator is after, [S, A].

    On the truncated game, without a critic: of the return within the time limit. With one, which
    stands in for what was cut: of the uncut game, over the steps that are taken.
    """
    scene = estimator.scene
    if not scene.truncated:
        return scene.solver.gradient(scene.policy.log(), scene.gamma)
    if estimator.config.baseline != "value":
        return scene.limited.gradient(scene.policy.log(), scene.gamma)
    values = scene.solver.values(scene.policy, scene.gamma)
    exact = scene.solver.action_values(values, scene.gamma)
    return policy_gradient(scene, scene.policy, exact)


def policy_gradient(scene: Scene, visiting: Tensor, worth: Tensor) -> Tensor:
    """Sum reach(s) * grad pi(a|s) * q(s, a) for the nodes that a policy visits, [S, A]."""
    mean = (scene.policy * worth).sum(1, keepdim=True)
    return reach(scene, visiting)[:, None] * scene.policy * (worth - mean)


def reach(scene: Scene, policy: Tensor) -> Tensor:
    """Return the probability that an episode visits each node before its horizon, [S]."""
    solver = scene.solver
    steps = torch.zeros(len(solver.nodes), len(solver.nodes), dtype=torch.float64)
    for number, node in enumerate(solver.nodes):
        for action in range(solver.game.num_actions):
            for way in solver.game.transitions(node, action):
                if not way.terminated:
                    there = solver.index[way.successor]
                    steps[number, there] += policy[number, action] * way.probability
    now = torch.eye(len(solver.nodes), dtype=torch.float64)[0]
    total = torch.zeros_like(now)
    for _ in range(scene.horizon):
        total, now = total + now, now @ steps
    return total


def expectation(estimator: Estimator) -> Tensor:
    """Return the mean over batches, [S, A], of an estimator per episode that is not normalized."""
    scene, config = estimator.scene, estimator.config
    if scene.truncated and config.baseline != "value":
        return aim(estimator)
    weighted = config.surrogate == "importance"
    if weighted and config.importance_clip is not None:
        return truncated_weights(scene, config)
    alone = weighted and config.importance == "per_step"
    # weights to the step, or to the end, make the acting policy's steps those of the other
    going_on = scene.acting if alone else scene.policy
    return policy_gradient(scene, going_on, worth(scene, config, going_on))


def worth(scene: Scene, config: Config, going_on: Tensor) -> Tensor:
    """Return the expected Psi of each action, [S, A], up to a constant of the node.

    `going_on` is the policy whose steps follow, once weights have made up for the difference.
    """
    solver, gamma, values = scene.solver, scene.gamma, scene.values
    errors = solver.action_values(values, gamma) - values[:, None]

    def ahead(of_nodes: Tensor) -> Tensor:
        return solver.action_values(of_nodes, gamma) - solver.action_values(0 * of_nodes, gamma)

    if config.advantage == "n_step" and config.bootstrap_steps != "inf":
        for _ in range(int(config.bootstrap_steps) - 1):
            values = (going_on * solver.action_values(values, gamma)).sum(1)
        return solver.action_values(values, gamma)
    if config.advantage == "vtrace":
        corrects = not (config.surrogate == "importance" and config.importance == "trajectory")
        ratios = scene.policy / scene.acting if corrects else torch.ones_like(errors)
        steps = scene.acting if corrects else scene.policy
        corrections = torch.zeros_like(values)
        for _ in solver.nodes:
            carried = ratios.clamp(max=config.c_bar) * ahead(corrections)
            corrections = (steps * (ratios.clamp(max=config.rho_bar) * errors + carried)).sum(1)
        return errors + ahead(corrections)
    decay = config.gae_lambda if config.advantage == "gae" else 1.0
    worth = errors
    for _ in solver.nodes:
        worth = errors + decay * ahead((going_on * worth).sum(1))
    return worth


def truncated_weights(scene: Scene, config: Config) -> Tensor:
    """Sum over all episodes, for returns-to-go without a baseline and weights with a limit."""
    assert (config.advantage, config.baseline) == ("reward_to_go", "none"), "no other is written"
    limit = config.importance_clip or torch.inf
    total = torch.zeros_like(scene.policy)
    for episode in scene.limited.episodes(scene.acting):
        played = (episode.nodes, episode.actions)
        ratios = (scene.policy / scene.acting)[played]
        for t, (node, action) in enumerate(zip(*played, strict=True)):
            reach = {"trajectory": len(ratios), "per_decision": t + 1, "per_step": t + 1}
            first = t if config.importance == "per_step" else 0
            weight = ratios[first : reach[config.importance]].prod().clamp(max=limit)
            later = torch.ones_like(ratios)
            if config.importance == "per_decision":
                later = torch.cat([later[: t + 1], ratios[t + 1 :]])
            rewards = enumerate(episode.rewards[t:], start=t)
            to_go = sum(scene.gamma ** (k - t) * later[: k + 1].prod() * r for k, r in rewards)
            score = -scene.policy[node].clone()
            score[action] += 1
            total[node] += episode.probability * weight * to_go * score
    return total
