"""Sets of heads and paths, the slow and obvious way: whole forwards of a GPT-2 written out, edited by name."""

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from tests.reference.functional import forward
from tests.reference.sweeps import metric_of, source_value, target


def z_name(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_z"


def without_heads(model: GPT2LMHeadModel, pairs, heads, kind, metric, permutation=None) -> Tensor:
    """The metric on each clean prompt with these heads' z replaced, `[pair]`; prompts of one length."""
    clean_runs = [forward(model, row[None]) for row in pairs.clean]
    rows = list(range(len(pairs)))

    def edit(name, value):
        for layer, head in heads:
            if name == z_name(layer):
                new = source_value(kind, name, rows, clean_runs, None, permutation).expand_as(value)
                value = torch.cat(
                    [value[:, :, :head], new[:, :, head : head + 1], value[:, :, head + 1 :]], 2
                )
        return value

    logits = forward(model, pairs.clean, edit=edit)[0]
    return measured(metric, logits, pairs, pairs.clean, clean_runs)


def measured(metric, logits, pairs, ids, clean_runs) -> Tensor:
    values = [
        metric_of(metric, logits[i][None], *target(pairs, i), clean_runs[i][0], ids[i][None])
        for i in range(len(pairs))
    ]
    return torch.tensor(values, dtype=torch.float64)


def path_effects(
    model: GPT2LMHeadModel, pairs, receivers, into, direction, mlps, metric="logit_diff"
) -> Tensor:
    """Path patching, `[pair, layer, head]`: the sender's z is patched, everything else that attention (and, where
    frozen, the MLPs) writes is pasted from the plain run; then the receivers' inputs are pasted into it."""
    clean_runs = [forward(model, row[None]) for row in pairs.clean]
    ids, other_ids = pairs.clean, pairs.corrupted
    if direction == "denoise":
        ids, other_ids = other_ids, ids
    logits, plain = forward(model, ids)
    other = forward(model, other_ids)[1]
    base = measured(metric, logits, pairs, ids, clean_runs)
    effects = torch.zeros(len(pairs), model.config.n_layer, model.config.n_head, dtype=torch.float64)
    for layer in range(model.config.n_layer):
        for head in range(model.config.n_head):

            def send(name, value, layer=layer, head=head):
                if name.endswith("attn.hook_z"):
                    value = plain[name].clone()
                    if name == z_name(layer):
                        value[:, :, head] = other[name][:, :, head]
                if name.endswith("hook_mlp_out") and mlps == "frozen":
                    value = plain[name]
                return value

            logits, seen = forward(model, ids, edit=send)
            if receivers != "logits":

                def receive(name, value, seen=seen):
                    for to_layer, to_head in receivers:
                        if name == f"blocks.{to_layer}.attn.hook_{into}":
                            value = value.clone()
                            value[:, :, to_head] = seen[name][:, :, to_head]
                    return value

                logits = forward(model, ids, edit=receive)[0]
            effects[:, layer, head] = measured(metric, logits, pairs, ids, clean_runs) - base
    return effects
