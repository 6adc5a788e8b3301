"""At which x a result stands under Lightning."""

import pytest

from headwatch_callbacks.lightning_trainer.steps import checkpoint_step


def _checkpoint(global_step: int, counted: int) -> dict:
    loops = {"fit_loop": {"epoch_loop.state_dict": {"_batches_that_stepped": counted}}}
    return {"global_step": global_step, "loops": loops}


@pytest.mark.parametrize(
    ("global_step", "counted", "x"),
    [
        (10, 9, 9),  # saved in on_train_batch_end: Lightning hasn't counted the batch yet
        (10, 10, 9),  # saved between batches
        (20, 9, 9),  # two optimizers: two steps a batch
        (0, 0, -1),  # before any step
    ],
)
def test_a_checkpoint_stands_at_the_x_of_its_last_loss(global_step, counted, x):
    assert checkpoint_step(_checkpoint(global_step, counted)) == x


def test_a_checkpoint_without_loops_stands_at_its_step():
    assert checkpoint_step({"global_step": 10}) == 9
