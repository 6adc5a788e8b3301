"""Watch the heads of a small GPT-2 while it learns indirect-object identification from scratch.

The model sees sentences such as "When Mary and John went to the store , John gave a ring to Mary". The prompt pairs
are made of name pairs that it never sees together. Its held-out logit difference (Mary over John) stays near zero
for hundreds of steps and then rises at once: the probes show which heads bring that about, and when.

    python examples/ioi_demo.py [--steps 600] [--out runs/ioi-demo]

About a minute on two cores. Needs no network and no account: wandb runs offline.
"""

import argparse
import itertools
import logging
import os
import random
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import headwatch as hw
from headwatch.page import report
from headwatch.record import AttentionFrame, EffectEntry, Record
from headwatch_callbacks import (
    ActivationPatching,
    AttentionMaps,
    GradientImportance,
    HeadAblation,
    probe_share,
    record_folder,
)


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


NAMES = words(
    "Mary John Alice Bob Carol David Emma Frank Grace Henry Irene Jack Kate Leo Nora Oscar Paula Quentin Rose Sam "
    "Tina Victor Wendy Xavier Yvonne Zack Anna Brian Clara Dan Ella Fred Gina Hugo Iris Jim Karen Luke Mia Nick"
)
PLACES = words("store school park office house garden station library museum market")
GIFTS = words("ring book ball drink letter hat map phone card bag")
TEMPLATES = (
    "When {first} and {second} went to the {place} , {giver} gave a {gift} to",
    "After {first} and {second} sat in the {place} , {giver} handed a {gift} to",
    "While {first} and {second} met at the {place} , {giver} sold a {gift} to",
    "Once {first} and {second} came to the {place} , {giver} passed a {gift} to",
)
FIRST, SECOND, GIVER = 1, 3, 9  # where the names stand in each of them
HELD_OUT = 150  # name pairs of the 780


@dataclass(frozen=True)
class Sentence:
    """One situation: who gives what to whom, and who is named first."""

    template: str
    giver: str
    receiver: str
    receiver_first: bool
    place: str
    gift: str

    def prompt(self, giver: str) -> str:
        """The sentence up to the receiver, with `giver` as the one who gives."""
        names = (self.receiver, self.giver) if self.receiver_first else (self.giver, self.receiver)
        return self.template.format(
            first=names[0], second=names[1], giver=giver, place=self.place, gift=self.gift
        )


def draw(rng: random.Random, names: tuple[str, str]) -> Sentence:
    """A sentence about two people."""
    giver, receiver = rng.sample(names, 2)
    chosen = rng.choice(TEMPLATES), giver, receiver, rng.random() < 0.5, rng.choice(PLACES), rng.choice(GIFTS)
    return Sentence(*chosen)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    text = " ".join([*NAMES, *PLACES, *GIFTS, *TEMPLATES])
    words = sorted({word for word in text.split() if "{" not in word})
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[UNK]", *words])}, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")


def held_out_pairs(rng: random.Random, people: list[tuple[str, str]], n: int = 48) -> list[hw.PromptPair]:
    """Clean and corrupted prompts about people whom the training never brings together."""
    sentences = [draw(rng, rng.choice(people)) for _ in range(n)]
    return [
        hw.PromptPair(
            clean=sentence.prompt(sentence.giver),
            corrupted=sentence.prompt(sentence.receiver),
            answer=f" {sentence.receiver}",
            foil=f" {sentence.giver}",
            task="ioi",
        )
        for sentence in sentences
    ]


class IOIModule(pl.LightningModule):
    """A 4-layer GPT-2 and its optimizer; nothing here knows of any probe."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.gpt = GPT2LMHeadModel(
            GPT2Config(
                n_layer=4,
                n_head=4,
                n_embd=128,
                n_positions=32,
                vocab_size=vocabulary,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=0,
            )
        )

    def training_step(self, ids: Tensor, batch_idx: int) -> Tensor:
        """Next-token loss."""
        logits = self.gpt(ids).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict:
        """AdamW with a linear warm-up over 100 steps."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 100))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(steps: int, out: Path, seed: int) -> None:
    """Train, probe, and say what was found."""
    console = Console()
    quieten()
    started = time.perf_counter()
    pl.seed_everything(seed, verbose=False)
    out.mkdir(parents=True, exist_ok=True)

    rng = random.Random(seed)
    people = list(itertools.combinations(NAMES, 2))
    rng.shuffle(people)
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(out / "tokenizer")
    pairs = hw.PromptPairs.from_pairs(held_out_pairs(rng, people[:HELD_OUT]), tokenizer)
    pairs.to_jsonl(out / "pairs.jsonl")
    sentences = [draw(rng, rng.choice(people[HELD_OUT:])) for _ in range(64 * min(steps, 1000))]
    texts = [f"{sentence.prompt(sentence.giver)} {sentence.receiver}" for sentence in sentences]
    data = DataLoader(torch.tensor(tokenizer(texts)["input_ids"]), batch_size=64, shuffle=True)  # type: ignore[arg-type]

    # From here on it is anybody's Lightning script: five callbacks are all that is added to it. A training of a minute
    # is all about its passes, which therefore have no max_overhead.
    source = {"pairs": out / "pairs.jsonl", "tokenizer": out / "tokenizer"}
    often, seldom = max(steps // 24, 1), max(steps // 12, 1)
    logger = WandbLogger(
        project="headwatch-ioi", offline=True, save_dir=out, settings=wandb.Settings(silent=True)
    )
    trainer = pl.Trainer(
        max_steps=steps,
        logger=logger,
        callbacks=[
            HeadAblation(**source, kind="mean", metric="logit_diff", every_n_train_steps=often),
            ActivationPatching(**source, site="z", every_n_train_steps=seldom),
            ActivationPatching(**source, site="resid_pre", by_position=True, every_n_train_steps=seldom),
            AttentionMaps(**source, n_maps=16, every_n_train_steps=seldom),
            GradientImportance(every_n_train_steps=often),
        ],
        default_root_dir=out,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=min(10, steps),
    )
    console.rule("[bold]a GPT-2 learns who receives the gift")
    console.print(f"{pairs.pairs[0].clean} → [bold]{pairs.pairs[0].answer.strip()}[/]", style="dim")
    trainer.fit(IOIModule(len(tokenizer)), data)

    share = probe_share(trainer)
    folder = record_folder(trainer)
    assert folder is not None
    page = report([folder], out / "report.html")
    offline_run = Path(logger.experiment.dir).parent
    wandb.finish()

    record = Record.read(folder)
    show_learning(console, record)
    show_heads(console, record, pairs)
    console.rule("[bold]where to look")
    seconds = time.perf_counter() - started
    console.print(
        f"The probes took [bold]{share:.1%}[/] of the training's wall time; all of this took {seconds:.0f} s."
    )
    for what, where in (("report", page), ("record", folder), ("offline wandb run", offline_run)):
        console.print(f"{what:>18}  [cyan]{where}[/]", soft_wrap=True)
    for what, command in (
        ("watch it live", f"serve {folder.parent}"),
        ("heads by effect", f"top {folder}"),
        ("as a table", f"export {folder} -o {out / 'heads.csv'}"),
    ):
        console.print(f"{what:>18}  [cyan]headwatch {command}[/]", soft_wrap=True)


def quieten() -> None:
    """Leave the terminal to what this demo has to say."""
    os.environ.setdefault("WANDB_SILENT", "true")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in (".*does not have many workers.*", ".*`isinstance\\(treespec, LeafSpec\\)`.*"):
        warnings.filterwarnings("ignore", text)


def show_learning(console: Console, record: Record) -> None:
    """The held-out logit difference over the steps."""
    ablations = [entry for entry in record.effects if entry.probe == "ablation"]
    best = max(entry.clean for entry in ablations)
    losses = record.scalars["train/loss"]
    table = Table(title="held-out logit difference, receiver over giver", title_justify="left", box=None)
    for name, justify in (
        ("step", "right"),
        ("training loss", "right"),
        ("logit difference", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for entry in ablations[:: max(len(ablations) // 20, 1)]:
        loss = np.interp(entry.step, losses.steps, losses.values)
        bar = "█" * round(32 * max(entry.clean, 0) / max(best, 1.0))
        table.add_row(str(entry.step), f"{loss:.3f}", f"{entry.clean:+.2f}", f"[green]{bar}[/]")
    console.print(table)


def show_heads(console: Console, record: Record, pairs: hw.PromptPairs, n: int = 6) -> None:
    """The heads that matter at the end, with error bars, and what they attend to."""
    ablation = last(record, "ablation", "z")
    patching = last(record, "patching", "z")
    restored = patching.normalized
    frame = record.patterns(record.frames[-1].step)
    table = Table(
        title="the heads that matter at the end: effect on the logit difference",
        title_justify="left",
        box=None,
    )
    for name in ("head", "when ablated", "restores", "attends most"):
        table.add_column(name, justify="left" if name in ("head", "attends most") else "right")
    shown = ablation.cell_map()
    for cell in shown.ranked()[:n]:
        colour = "bold" if shown.marked(*cell) else "dim"
        share = "–" if restored is None else f"{restored[cell]:z.0%}"  # z: no −0%
        table.add_row(
            shown.cell_name(*cell),
            f"[{colour}]{shown.values[cell]:+.2f} ± {shown.margin(*cell):.2f}[/]",
            share,
            attends_most(frame, pairs, *cell),
        )
    console.print(table)
    console.print(
        "when ablated: change when the head is replaced by its mean, ± 95%, bold where significant at a"
        f" {shown.marks}; restores: share of the clean answer that its clean output brings back into the"
        " corrupted prompt",
        style="dim",
    )


def last(record: Record, probe: str, site: str) -> EffectEntry:
    """The last pass of a probe at a site."""
    return [entry for entry in record.effects if (entry.probe, entry.site) == (probe, site)][-1]


def attends_most(frame: AttentionFrame, pairs: hw.PromptPairs, layer: int, head: int) -> str:
    """Which token of a sentence this head moves something from, and where to."""
    found: dict[str, list[float]] = {}
    for maps, pair in zip(frame.maps, pairs.pairs, strict=False):
        receiver_first = pair.clean.split()[FIRST] == str(pair.answer).strip()
        receiver, giver = (FIRST, SECOND) if receiver_first else (SECOND, FIRST)
        keys = {"the receiver": receiver, "the giver": giver, "the giver again": GIVER}
        ends = {"last word": maps.shape[-1] - 1, "the giver again": GIVER}
        for (query, i), (key, j) in itertools.product(ends.items(), keys.items()):
            if i > j:
                found.setdefault(f"{query} → {key}", []).append(float(maps[layer, head, i, j]))
        steps = range(1, maps.shape[-1])
        found.setdefault("each word → the word before", []).append(
            float(np.mean([maps[layer, head, i, i - 1] for i in steps]))
        )
    weight, name = max((float(np.mean(weights)), name) for name, weights in found.items())
    return f"{name} ({weight:.0%})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps (default: 600)")
    parser.add_argument("--out", type=Path, default=Path("runs/ioi-demo"), help="where everything is written")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the weights")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.out, arguments.seed)
