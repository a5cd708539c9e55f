"""Expectations of estimators by the policy gradient theorem, without sampling or learner code.

An expectation is the sum over nodes and actions of reach(s) * grad pi(a|s) * q(s, a), with the
expected Psi after action a in node s as q. Tables [S, A] are float64; gradients are in the logits
of a tabular softmax.
"""

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.proof.estimators import Estimator
from distpg.proof.scene import Scene


def true_gradient(estimator: Estimator) -> Tensor:
    """Return the gradient of the expected return that an estimator estimates, [S, A].

    On the truncated game, this is the return within the time limit without a critic. With a critic,
    which bootstraps truncated episodes, it is the return without the time limit, over the steps
    within it.
    """
    scene = estimator.scene
    if not scene.truncated:
        return scene.solver.gradient(scene.policy.log(), scene.gamma)
    if estimator.config.baseline != "value":
        return scene.limited.gradient(scene.policy.log(), scene.gamma)
    values = scene.solver.values(scene.policy, scene.gamma)
    q = scene.solver.action_values(values, scene.gamma)
    return exact_policy_gradient(scene, scene.policy, q)


def exact_policy_gradient(scene: Scene, visiting: Tensor, q: Tensor) -> Tensor:
    """Return the sum of reach(s) * grad pi(a|s) * q(s, a), [S, A].

    Args:
        scene: Its target policy is pi.
        visiting: [S, A] the policy that reaches the nodes.
        q: [S, A] expected Psi.
    """
    mean = (scene.policy * q).sum(1, keepdim=True)
    return reach(scene, visiting)[:, None] * scene.policy * (q - mean)


def reach(scene: Scene, policy: Tensor) -> Tensor:
    """Return the probability that an episode visits each node before its horizon, [S]."""
    solver = scene.solver
    matrix = torch.zeros(len(solver.nodes), len(solver.nodes), dtype=torch.float64)
    for number, node in enumerate(solver.nodes):
        for action in range(solver.game.num_actions):
            for t in solver.game.transitions(node, action):
                if not t.terminated:
                    successor = solver.index[t.successor]
                    matrix[number, successor] += policy[number, action] * t.probability
    now = torch.eye(len(solver.nodes), dtype=torch.float64)[0]
    total = torch.zeros_like(now)
    for _ in range(scene.horizon):
        total, now = total + now, now @ matrix
    return total


def expectation(estimator: Estimator) -> Tensor:
    """Return the mean over batches, [S, A], of an estimator without scaling."""
    scene, config = estimator.scene, estimator.config
    if scene.truncated and config.baseline != "value":
        return true_gradient(estimator)
    weighted = config.surrogate == "importance"
    if weighted and config.importance_clip is not None:
        return clipped_weights_gradient(scene, config)
    per_step = weighted and config.importance == "per_step"
    # per-step weights correct only the action, not how its node is reached or what follows
    effective = scene.behaviour if per_step else scene.policy
    return exact_policy_gradient(scene, effective, expected_psi(scene, config, effective))


def expected_psi(scene: Scene, config: Config, later: Tensor) -> Tensor:
    """Return the expected Psi of each action, [S, A], up to a constant per node.

    Args:
        scene: The game, the policies and the critic.
        config: Of the estimator.
        later: [S, A] the policy of the steps after the action, as importance weights correct it.
    """
    solver, gamma, values = scene.solver, scene.gamma, scene.values
    td_errors = solver.action_values(values, gamma) - values[:, None]

    def discounted_next(of_nodes: Tensor) -> Tensor:
        """Return E[gamma x(successor)], [S, A], for x [S]."""
        return solver.action_values(of_nodes, gamma) - solver.action_values(0 * of_nodes, gamma)

    if config.advantage == "n_step" and config.bootstrap_steps != "inf":
        for _ in range(int(config.bootstrap_steps) - 1):
            values = (later * solver.action_values(values, gamma)).sum(1)
        return solver.action_values(values, gamma)
    if config.advantage == "vtrace":
        corrects = not (config.surrogate == "importance" and config.importance == "trajectory")
        ratios = scene.policy / scene.behaviour if corrects else torch.ones_like(td_errors)
        steps = scene.behaviour if corrects else scene.policy
        corrections = torch.zeros_like(values)
        for _ in solver.nodes:
            carried = ratios.clamp(max=config.c_bar) * discounted_next(corrections)
            own = ratios.clamp(max=config.rho_bar) * td_errors
            corrections = (steps * (own + carried)).sum(1)
        return td_errors + discounted_next(corrections)
    decay = config.gae_lambda if config.advantage == "gae" else 1.0
    psi = td_errors
    for _ in solver.nodes:
        psi = td_errors + decay * discounted_next((later * psi).sum(1))
    return psi


def clipped_weights_gradient(scene: Scene, config: Config) -> Tensor:
    """Return the expectation with clipped importance weights, [S, A], as a sum over all episodes.

    Only for rewards-to-go without a baseline.
    """
    assert (config.advantage, config.baseline) == ("reward_to_go", "none"), "not implemented"
    limit = config.importance_clip or torch.inf
    total = torch.zeros_like(scene.policy)
    for episode in scene.limited.episodes(scene.behaviour):
        steps = (episode.nodes, episode.actions)
        ratios = (scene.policy / scene.behaviour)[steps]
        for t, (node, action) in enumerate(zip(*steps, strict=True)):
            first = t if config.importance == "per_step" else 0
            end = len(ratios) if config.importance == "trajectory" else t + 1
            weight = ratios[first:end].prod().clamp(max=limit)
            later = torch.ones_like(ratios)
            if config.importance == "per_decision":
                later = torch.cat([later[: t + 1], ratios[t + 1 :]])
            rewards = enumerate(episode.rewards[t:], start=t)
            to_go = sum(scene.gamma ** (k - t) * later[: k + 1].prod() * r for k, r in rewards)
            score = -scene.policy[node].clone()
            score[action] += 1
            total[node] += episode.probability * weight * to_go * score
    return total
