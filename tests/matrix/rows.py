"""The rows of the matrix: settings and pairs of settings that have been known, or are likely, to break a probe."""

from dataclasses import dataclass

from tests.matrix.training import Training


@dataclass(frozen=True)
class Row:
    """A way to train, under a name that the table shows.

    Attributes:
        name: what is set.
        training: the settings.
        fast: whether every run of the tests trains it, and not only `make matrix`.
        trainer: whose Trainer it is.
    """

    name: str
    training: Training
    fast: bool = False
    trainer: str = "Lightning"


def row(name: str, *, fast: bool = False, trainer: str = "Lightning", **settings: object) -> Row:
    return Row(name, Training(**settings), fast, trainer)  # type: ignore[arg-type]


FORWARD = "model.forward = torch.compile(model.forward)"
FUNCTION = "@torch.compile on a function"

LIGHTNING = [
    row("float32", fast=True),
    row("no dropout", dropout=0.0),
    row("eager attention", attention="eager"),
    row("accumulation", accumulate=2, fast=True),
    row("gradient clipping", clip=0.1),
    row("passes with each validation", on_validation=True),
    row("bf16-mixed", precision="bf16-mixed", fast=True),
    row("bf16-true", precision="bf16-true", fast=True),
    row("16-mixed", precision="16-mixed"),
    row("64-true", precision="64-true"),
    row("bf16-mixed, accumulation, clipping", precision="bf16-mixed", accumulate=2, clip=0.1),
    row("gradient checkpointing", checkpointing=True, fast=True),
    row("gradient checkpointing, bf16-mixed", checkpointing=True, precision="bf16-mixed"),
    row("torch.compile(model)", compiled="torch.compile(model)"),
    row("model.compile()", compiled="model.compile()"),
    row(FORWARD, compiled=FORWARD),
    row(f"{FORWARD}, no validation", compiled=FORWARD, backend="eager", validated=False, fast=True),
    row(FUNCTION, compiled=FUNCTION),
    row(f"{FUNCTION}, fullgraph", compiled=FUNCTION, fullgraph=True, dropout=0.0),
    row(f"{FORWARD}, inductor", compiled=FORWARD, backend="inductor"),
    row(f"{FORWARD}, bf16-mixed, accumulation", compiled=FORWARD, precision="bf16-mixed", accumulate=2),
    row("model.compile(), gradient checkpointing", compiled="model.compile()", checkpointing=True),
    row("LoRA", lora=True, fast=True),
    row("LoRA, bf16-mixed", lora=True, precision="bf16-mixed"),
    row("LoRA, gradient checkpointing", lora=True, checkpointing=True),
    row("LoRA, model.compile()", lora=True, compiled="model.compile()"),
    row("frozen parts", frozen=True, fast=True),
    row("frozen parts, accumulation", frozen=True, accumulate=2),
    row("EMA of the weights", averaging="EMA", fast=True),
    row("EMA of the weights, accumulation", averaging="EMA", accumulate=2),
    row("SWA", averaging="SWA", fast=True),
    row("two optimizers by hand", optimizers=2, fast=True),
    row("two optimizers by hand, bf16-mixed", optimizers=2, precision="bf16-mixed"),
    row("resumed", resumed=True, fast=True),
    row("resumed, accumulation", resumed=True, accumulate=2),
    row("a user's hook that counts into a buffer", counting_hook=True, fast=True),
    row("background=True", background=True),
    row("max_overhead=0.9", max_overhead=0.9),
    row("budget=0.9", budget=0.9),
    row("pytorch_lightning", package="pytorch_lightning", fast=True),
    row("pytorch_lightning, bf16-mixed", package="pytorch_lightning", precision="bf16-mixed"),
]
RANKS = [
    row("DDP, 2 processes", strategy="ddp"),
    row("DDP, accumulation, bf16-mixed", strategy="ddp", accumulate=2, precision="bf16-mixed"),
    row("DDP, model.compile()", strategy="ddp", compiled="model.compile()"),
    row("DDP, background=True", strategy="ddp", background=True),
    row("FSDP2, 2 processes", strategy="fsdp2", dropout=0.0),
    row("FSDP2, accumulation, dropout", strategy="fsdp2", accumulate=2),
]


def hf(name: str, **settings: object) -> Row:
    named = f"transformers.Trainer, {name}" if name else "transformers.Trainer"
    return row(named, trainer="transformers", **settings)  # type: ignore[arg-type]


HUGGING_FACE = [
    hf("", fast=True),
    hf("bf16", precision="bf16-mixed"),
    hf("accumulation, clipping", accumulate=2, clip=0.1),
    hf("gradient checkpointing", checkpointing=True),
    hf("LoRA", lora=True),
    hf(FORWARD, compiled=FORWARD),
    hf("load_best_model_at_end", best_at_end=True, fast=True),
    hf("resumed", resumed=True),
    hf("background=True", background=True),
    hf("DDP, 2 processes", strategy="ddp"),
]
ROWS = [*LIGHTNING, *RANKS, *HUGGING_FACE]
