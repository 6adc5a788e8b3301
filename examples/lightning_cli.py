"""Probes in a LightningCLI config file: nothing about them stands in the code.

    python examples/lightning_cli.py fit --config examples/lightning_cli.yaml

A small GPT-2 learns to continue random sequences that repeat themselves; needs no network and no tokenizer.
"""

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningCLI
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel


class RepeatModule(pl.LightningModule):
    """A GPT-2 and its optimizer.

    Args:
        layers: its layers.
        heads: heads of a layer.
        width: the width of its stream.
        vocabulary: how many tokens there are.
        lr: AdamW's learning rate.
    """

    def __init__(
        self, layers: int = 2, heads: int = 4, width: int = 64, vocabulary: int = 64, lr: float = 1e-3
    ) -> None:
        super().__init__()
        sizes = {"n_layer": layers, "n_head": heads, "n_embd": width, "vocab_size": vocabulary}
        self.gpt = GPT2LMHeadModel(GPT2Config(**sizes, n_positions=64, bos_token_id=0, eos_token_id=0))
        self.lr = lr

    def training_step(self, ids: Tensor, batch_idx: int) -> Tensor:
        """Next-token loss."""
        logits = self.gpt(ids).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class RepeatData(pl.LightningDataModule):
    """Random sequences, each followed by itself.

    Args:
        vocabulary: how many tokens there are.
        length: tokens before the repetition.
        rows: how many sequences.
        batch_size: sequences of a batch.
    """

    def __init__(
        self, vocabulary: int = 64, length: int = 24, rows: int = 16_384, batch_size: int = 64
    ) -> None:
        super().__init__()
        half = torch.randint(vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))
        self.ids = half.repeat(1, 2)
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        """All of them, shuffled."""
        return DataLoader(self.ids, batch_size=self.batch_size, shuffle=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    LightningCLI(RepeatModule, RepeatData, save_config_callback=None)
