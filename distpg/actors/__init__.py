"""The loop's two partners as Ray actors: the driver passes references and small statistics on.

    driver             learner              workers
      | collect(weights ref) ------------------->|   each fetches the weights
      |<---- rollout and state refs, statistics -|
      | update(rollout refs) ->|                 |   the learner fetches the rollouts
      |<- weights, state refs, |                 |
      |            statistics -|                 |

A method's return value is owned by the driver, so it outlives the actor that made it: what a
process knew is there when another takes its place.
"""
