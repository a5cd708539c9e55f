"""How workers and learner run as Ray actors, and how lost ones are replaced.

Knows nothing of losses or run directories; the driver passes on references and statistics only.

    driver             learner              workers
      | collect(weights ref) ------------------->|   each fetches the weights
      |<---- rollout and state refs, statistics -|
      | update(rollout refs) ->|                 |   the learner fetches the rollouts
      |<- weights, state refs, |                 |
      |            statistics -|                 |

A method's return value is owned by the driver, so it outlives the actor that made it: a
replacement process is restored from the last state that the driver owns.
"""
