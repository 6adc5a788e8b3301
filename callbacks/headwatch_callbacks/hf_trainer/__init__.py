"""The same probes for `transformers.Trainer`.

`Trainer(..., callbacks=[HeadwatchCallback([HeadAblation("pairs.jsonl", every_n_train_steps=100)], "runs/mine")])`:
each probe keeps its own schedule, and the record, the page, wandb and TensorBoard show the same as under Lightning. A
result after step k stands at x = k, where this Trainer writes that step's loss.
"""

from headwatch_callbacks.hf_trainer.callback import HeadwatchCallback

__all__ = ["HeadwatchCallback"]
