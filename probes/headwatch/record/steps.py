"""Where a pass stands that was run before the first step, and what it is called.

A pass after the k-th step of a Lightning training stands at step k − 1, where Lightning writes that step's loss. One
that was run before any step therefore stands at −1, and the pass after the first step, at 0, has a place of its own.
"""

BEFORE_TRAINING = -1


def step_name(step: int) -> str:
    """What a step is called in a sentence: `step 100`, or `step -1 (before training)`."""
    return f"step {step}" + (" (before training)" if step == BEFORE_TRAINING else "")


def file_stem(step: int) -> str:
    """What the files of a step's passes are called: `untrained`, or the step's number."""
    return "untrained" if step == BEFORE_TRAINING else str(step)
