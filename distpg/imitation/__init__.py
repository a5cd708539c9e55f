"""Learning from an expert instead of rewards: behavioural cloning, and DAgger.

The loop is that of `train.py`; a round is an iteration of it.

    weights = cloner.weights()
    repeat:   rollouts = rounds.collect(weights)        first the expert acts, then the student;
                                                        their actions become what the expert says
              weights  = cloner.update(rollouts)        the student learns all that was said so far

`expert.py` says what an expert is, `sources.py` and `dataset.py` where it comes from, `labels.py`
how it is asked, `rounds.py` who acts, `cloner.py` how the student learns; `run.py` is the whole.
"""
