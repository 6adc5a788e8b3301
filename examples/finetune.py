"""Fine-tune any GPT-2 on a text file, and watch its heads while that happens.

    python examples/finetune.py --model gpt2 --text book.txt --pairs pairs.jsonl

`--model` is a name on the Hugging Face hub or a folder that `save_pretrained` wrote. Each line of `--pairs` is
{"clean": ..., "corrupted": ..., "answer": ..., "foil": ...}; `headwatch pairs make --task ioi` writes such a file.
"""

import argparse
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase

from headwatch_callbacks import ActivationPatching, AttentionMaps, GradientImportance, HeadAblation


class FineTuning(pl.LightningModule):
    """A GPT-2 and its optimizer; nothing here knows of any probe."""

    def __init__(self, gpt: GPT2LMHeadModel, lr: float) -> None:
        super().__init__()
        self.gpt = gpt.train()
        self.lr = lr

    def training_step(self, ids: Tensor, batch_idx: int) -> Tensor:
        """Next-token loss."""
        logits = self.gpt(ids).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def load(name: str) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer from the hub or a folder; a plain message where neither is to be had."""
    try:
        return GPT2LMHeadModel.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        sys.exit(
            f"--model {name} is no folder with a GPT-2 and its tokenizer, and the Hugging Face hub gave none "
            f"({reason}). Without a network, give a folder that save_pretrained wrote."
        )


def blocks(text: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> Tensor:
    """A text's tokens, cut into rows of one length, `[row, length]`."""
    if not text.is_file():
        sys.exit(f"--text {text}: there is no such file")
    ids = torch.tensor(tokenizer(text.read_text(encoding="utf-8"), verbose=False)["input_ids"])
    rows = len(ids) // length
    if rows == 0:
        sys.exit(f"--text {text} has {len(ids)} tokens: give at least {length}, or a smaller --length")
    return ids[: rows * length].view(rows, length)


def main(arguments: argparse.Namespace) -> None:
    """Train with four probes."""
    if not arguments.pairs.is_file():
        sys.exit(f"--pairs {arguments.pairs}: there is no such file; headwatch pairs make writes one")
    pl.seed_everything(arguments.seed, verbose=False)
    gpt, tokenizer = load(arguments.model)
    length = min(arguments.length, gpt.config.n_positions)
    data = blocks(arguments.text, tokenizer, length)
    source = {"pairs": arguments.pairs, "tokenizer": tokenizer}
    cheaply = {"every_n_train_steps": arguments.every, "max_overhead": arguments.max_overhead}
    trainer = pl.Trainer(
        max_steps=arguments.steps,
        precision=arguments.precision,
        callbacks=[
            HeadAblation(**source, metric="logit_diff", **cheaply),
            ActivationPatching(**source, **cheaply),
            AttentionMaps(**source, every_n_train_steps=arguments.every),
            GradientImportance(every_n_train_steps=max(arguments.every // 5, 1)),
        ],
        default_root_dir=arguments.out,
        log_every_n_steps=10,
        enable_checkpointing=False,
    )
    trainer.fit(
        FineTuning(gpt, arguments.lr),
        DataLoader(data, batch_size=arguments.batch_size, shuffle=True),  # type: ignore[arg-type]
    )
    gpt.save_pretrained(arguments.out / "model")
    tokenizer.save_pretrained(arguments.out / "model")
    print(f"the fine-tuned model is in {arguments.out / 'model'}")


def parser() -> argparse.ArgumentParser:
    """What can be set."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="gpt2", help="a name on the hub or a folder (default: gpt2)")
    made.add_argument("--text", type=Path, required=True, help="what to train on")
    made.add_argument("--pairs", type=Path, required=True, help="prompt pairs, JSON Lines")
    made.add_argument("--steps", type=int, default=500, help="optimizer steps (default: 500)")
    made.add_argument("--every", type=int, default=50, help="probe every so many steps (default: 50)")
    made.add_argument(
        "--max-overhead",
        type=float,
        default=0.05,
        help="share of the training time that ablation and patching may take (default: 0.05)",
    )
    made.add_argument("--length", type=int, default=256, help="tokens of a training row (default: 256)")
    made.add_argument("--batch-size", type=int, default=8, help="rows of a batch (default: 8)")
    made.add_argument("--lr", type=float, default=5e-5, help="AdamW's learning rate (default: 5e-5)")
    made.add_argument("--precision", default="32-true", help="Lightning's precision (default: 32-true)")
    made.add_argument("--out", type=Path, default=Path("runs/finetune"), help="where everything is written")
    made.add_argument("--seed", type=int, default=0, help="of the order of the data and of dropout")
    return made


if __name__ == "__main__":
    main(parser().parse_args())
