"""The truth that every engine is held to: one whole forward per intervention, on a GPT-2 written out.

Nothing here calls headwatch: activations are replaced inside `tests.reference.functional.forward`.
"""

import itertools

import torch
from torch import Tensor, nn

from tests.reference.functional import forward

PER_HEAD = ("z", "q", "k", "v", "result", "pattern")


def full_name(site: str, layer: int) -> str:
    if site in (*PER_HEAD, "attn_scores"):
        return f"blocks.{layer}.attn.hook_{site}"
    return f"blocks.{layer}.mlp.hook_{site}" if site in ("pre", "post") else f"blocks.{layer}.hook_{site}"


def metric_of(
    name: str, logits: Tensor, position: int, answer: int, foil: int, clean: Tensor, ids: Tensor
) -> float:
    """A metric from the logits `[1, pos, vocab]` of one prompt, written out."""
    at = logits[0, position].double()
    p = at.softmax(-1)
    if name == "loss":
        return -p[answer].log().item()
    if name == "logit_diff":
        return (at[answer] - at[foil]).item()
    if name == "prob":
        return p[answer].item()
    if name == "prob_diff":
        return (p[answer] - p[foil]).item()
    if name == "accuracy":
        return float(at.argmax().item() == answer)
    if name == "kl":
        q = clean[0, position].double().softmax(-1)
        return (q * (q.log() - p.log())).sum().item()
    assert name == "sequence_loss"
    steps = [-logits[0, i].double().log_softmax(-1)[ids[0, i + 1]].item() for i in range(ids.shape[1] - 1)]
    return sum(steps) / len(steps)


def replace_unit(site: str, value: Tensor, new: Tensor, unit: int | None, position: int | None) -> Tensor:
    """A copy of an activation with one unit's values replaced, everywhere or at one position."""
    out = value.clone()
    for t in range(value.shape[2 if site == "pattern" else 1]):
        if position is not None and t != position:
            continue
        if site == "pattern":
            out[:, unit, t] = new[:, unit, t]
        elif site in PER_HEAD:
            out[:, t, unit] = new[:, t, unit]
        elif unit is None:
            out[:, t] = new[:, t]
        else:
            out[:, t, unit] = new[:, t, unit]
    return out


def sweep(
    model: nn.Module,
    pairs,
    site: str,
    kind: str,
    metric: str,
    *,
    by_position: bool = False,
    layers: list[int] | None = None,
    units: list[int] | None = None,
    permutation: Tensor | None = None,
    reference=None,
    forward=forward,
) -> Tensor:
    """Effects `[pair, layer, (unit), (position)]`; `forward` runs another family's model.

    What an ablation writes comes from the clean prompts of `reference`, or of the pairs themselves.
    """
    config = model.config
    layers = list(range(config.n_layer)) if layers is None else layers
    if units is None:
        units = list(range(config.n_head)) if site in PER_HEAD else [None]
    clean_runs, source_runs = (
        [forward(model, some.clean[i : i + 1, :n]) for i, n in enumerate(some.lengths.tolist())]
        for some in (pairs, pairs if reference is None else reference)
    )
    effects = {}
    for length in sorted(
        set(pairs.lengths.tolist())
    ):  # prompts of one length run together, so that none is padded
        rows = [i for i, n in enumerate(pairs.lengths.tolist()) if n == length]
        ids = (pairs.corrupted if kind == "denoise" else pairs.clean)[rows, :length]
        other = (pairs.clean if kind == "denoise" else pairs.corrupted)[rows, :length]
        plain, other_run = forward(model, ids)[0], forward(model, other)[1]

        def measure(logits, ids=ids, rows=rows):
            return torch.tensor(
                [
                    metric_of(metric, one[None], *target(pairs, i), clean_runs[i][0], prompt[None])
                    for one, i, prompt in zip(logits, rows, ids, strict=True)
                ],
                dtype=torch.float64,
            )

        before, found = measure(plain), []
        positions = range(length) if by_position else [None]
        for layer, unit, position in itertools.product(layers, units, positions):
            name = full_name(site, layer)
            new = source_value(kind, name, rows, source_runs, other_run, permutation)

            def edit(n, value, name=name, new=new, unit=unit, position=position):
                return replace_unit(site, value, new.expand_as(value), unit, position) if n == name else value

            found.append(measure(forward(model, ids, edit=edit)[0]) - before)
        shape = [len(layers)] + ([] if units == [None] else [len(units)]) + ([length] if by_position else [])
        effects |= dict(zip(rows, torch.stack(found, 1).unflatten(1, shape), strict=True))
    return torch.stack([effects[i] for i in range(len(effects))])


def target(pairs, i: int) -> tuple[int, int, int]:
    return int(pairs.position[i]), int(pairs.answer[i]), int(pairs.foil[i])


def source_value(kind, name, rows, clean_runs, other_run, permutation) -> Tensor:
    """What a kind of intervention writes, on the pairs `rows`."""
    if kind == "zero":
        return torch.zeros(1)
    if kind == "mean":
        tokens = torch.cat([run[1][name][0].double() for run in clean_runs])
        return tokens.mean(0).float()[None, None]
    if kind == "position_mean":
        return torch.stack([run[1][name][0].double() for run in clean_runs]).mean(0).float()[None]
    if kind == "resample":
        return torch.cat([clean_runs[int(permutation[i])][1][name] for i in rows])
    return other_run[name]
