"""Imitation learning: behavioural cloning and DAgger.

The loop is that of `train.py`; a round is an iteration of it.

    weights = cloner.weights()
    repeat:   rollouts = rounds.collect(weights)        by the expert first, then by the student;
                                                        labelled with the expert's actions
              weights  = cloner.update(rollouts)        fit the student to all labels so far

`expert.py` has the interfaces of experts, `sources.py` and `dataset.py` their kinds, `labels.py`
queries and relabels, `rounds.py` collects, `cloner.py` learns, and `run.py` puts all together.
"""
