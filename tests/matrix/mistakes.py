"""Mistakes that probes have made, planted into a training: each must show in the column that is there for it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from headwatch_callbacks import HeadAblation
from headwatch_callbacks.questions import Ablation
from tests.matrix.rows import FORWARD
from tests.matrix.training import Training, data
from tests.models import random_ids, random_pairs

PLAIN = Training()
Act = Callable[[pl.Trainer, Any, dict[str, torch.Tensor]], object]


@dataclass(frozen=True)
class Mistake:
    """Something that a probe must not do.

    Attributes:
        what: what it does.
        act: does it after a batch of the training.
        column: where it must show.
        training: in which training.
        at_start: does it once before the first batch, and not after each.
    """

    what: str
    act: Act
    column: str
    training: Training = PLAIN
    at_start: bool = False


class Planted(pl.Callback):
    """Makes a mistake, as a probe without protection would."""

    def __init__(self, mistake: Mistake) -> None:
        self.act, self.at_start = mistake.act, mistake.at_start

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.at_start:
            self.act(trainer, pl_module, {})

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.at_start:
            with torch.no_grad():
                self.act(trainer, pl_module, batch)


def _train_mode(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.gpt(**batch)


def _batch_norm_learns(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.norm(torch.ones(3, 4))


def _eval_then_train(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.eval()
    module.train()


def _not_restored(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.gpt.eval()


def _hook_left(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    projection = module.gpt.transformer.h[0].attn.c_proj
    projection.register_forward_pre_hook(lambda _, args: (args[0] * (1 + 1e-5),))


def _silent_hook_left(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.gpt.transformer.h[0].attn.c_proj.register_forward_pre_hook(lambda _, args: None)


def _eager(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.gpt.set_attn_implementation("eager")


def _backward(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    modes = {each: each.training for each in module.modules()}
    module.eval()
    with torch.enable_grad():
        module.gpt(**batch).loss.backward()
    for each, mode in modes.items():
        each.training = mode


def _rounds_weights(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    for parameter in module.gpt.parameters():
        parameter.copy_(parameter.bfloat16())


def _moves_the_schedule(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    trainer.optimizers[0].param_groups[0]["lr"] *= 1 + 1e-6


def _breaks_the_graph(module: Any, args: Any) -> None:
    torch._dynamo.graph_break()


def _hook_in_the_graph(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.gpt.transformer.h[0].attn.c_proj.register_forward_pre_hook(_breaks_the_graph)


def _asks_through_the_compiled_forward(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    module.gpt(input_ids=random_ids(2, 7))


def _wakes_the_users_hooks(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    states = torch.get_rng_state()
    module.gpt(**batch)
    torch.set_rng_state(states)


def _permutes(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    torch.randperm(3)


def _iterates(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    iter(data(1))


def _draws_by_numpy(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    np.random.rand()


def _draws_by_python(trainer: pl.Trainer, module: Any, batch: Any) -> None:
    random.random()


COUNTING, ACCUMULATING = Training(counting_hook=True), Training(accumulate=2)
COMPILED = Training(compiled=FORWARD, backend="eager", dropout=0.0, validated=False)

MISTAKES = [
    Mistake("a forward in training mode draws dropout", _train_mode, "torch RNG"),
    Mistake("a forward in training mode teaches BatchNorm", _batch_norm_learns, "buffers"),
    Mistake("a hook of the user's counts passes", _wakes_the_users_hooks, "buffers", COUNTING),
    Mistake("`eval()` then `train()` wakes what the user had frozen", _eval_then_train, "modes and hooks"),
    Mistake("evaluation mode is not put back", _not_restored, "modes and hooks"),
    Mistake("eager attention is not put back", _eager, "modes and hooks"),
    Mistake("a hook that changes values stays", _hook_left, "losses"),
    Mistake("a hook that changes nothing stays", _silent_hook_left, "modes and hooks"),
    Mistake("`torch.randperm`", _permutes, "torch RNG"),
    Mistake("`iter(DataLoader)`", _iterates, "torch RNG"),
    Mistake("a draw moves the next epoch's shuffle", _permutes, "data order"),
    Mistake("a draw of numpy's", _draws_by_numpy, "numpy RNG"),
    Mistake("a draw of Python's", _draws_by_python, "Python RNG"),
    Mistake("`backward()` under accumulation", _backward, "gradients", ACCUMULATING),
    Mistake("weights come back rounded", _rounds_weights, "parameters"),
    Mistake("a learning rate is touched", _moves_the_schedule, "optimizer state"),
    Mistake("a hook breaks the graph of a compiled function", _hook_in_the_graph, "recompilations", COMPILED, True),
    Mistake("a pass runs through the compiled forward", _asks_through_the_compiled_forward, "recompilations", COMPILED),
]  # fmt: skip


class HeadBeside(Ablation):
    """Answers with the effects of the next head."""

    def measure(self, *arguments: Any) -> Any:
        found = super().measure(*arguments)
        return [
            replace(each, effects=replace(each.effects, per_pair=each.effects.per_pair.roll(1, -1)))
            for each in found
        ]


def wrong_head(folder: Path) -> HeadAblation:
    probe = HeadAblation(random_pairs(), metric="loss", every_n_train_steps=2, record=folder / "record")
    probe.question.__class__ = HeadBeside
    return probe


def misses_the_end(folder: Path) -> HeadAblation:
    return HeadAblation(
        random_pairs(), metric="loss", every_n_train_steps=2, at_end=False, record=folder / "record"
    )


WRONG_EFFECTS = {
    "effects stand at the next head": (wrong_head, PLAIN),
    "the last pass is not of the weights that are left (EMA)": (misses_the_end, Training(averaging="EMA")),
}
