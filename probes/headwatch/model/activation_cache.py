"""The activations of one forward pass, and what the residual stream says when it is taken apart.

The stream is a sum: embeddings, what each attention layer and MLP wrote, and inside a layer what each head
wrote. The methods stack those parts, scale them as the final LayerNorm would, and read them in logits
(direct logit attribution; Elhage et al. 2021, nostalgebraist 2020 for the logit lens).

`pos=` asks for some positions: a number, counted from the end if negative, or one number a prompt, takes the axis of
positions away; a slice keeps it. Only what is asked for is computed.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headwatch.cell_names import how_many
from headwatch.model.activation_names import MODEL, NameLike, act_name, resolve
from headwatch.model.architecture import Architecture
from headwatch.model.positions import Positions, at_positions, position_axis

Labelled = tuple[Tensor, list[str]]


class MissingActivationError(KeyError):
    """No such activation, or none in this cache: the message says what would work."""

    def __str__(self) -> str:
        return str(self.args[0])


class ActivationCache(Mapping[str, Tensor]):
    """Activations by full name, shorthand or tuple: `cache["pattern", 5]`, `cache["z5"]`.

    Example:
        >>> with hw.attach(model) as hooked:
        ...     logits, cache = hooked.run_with_cache(ids)
        >>> stack, labels = cache.stack_head_results(pos=-1, return_labels=True)     # [layer * head, batch, d_model]
        >>> labels[-1]
        'L11H11'
        >>> cache.logit_attrs(stack, pairs.answer, pairs.foil, pos=-1).shape         # [layer * head, batch]
        torch.Size([144, 4])

    Args:
        activations: tensors by full name.
        architecture: the model that made them; the read-outs use its final norm and unembedding.
        has_batch_dim: whether the tensors start with a batch axis.
        has_pos_dim: whether they have an axis of positions, which those of a single position don't.
    """

    def __init__(
        self,
        activations: Mapping[str, Tensor],
        architecture: Architecture,
        has_batch_dim: bool = True,
        has_pos_dim: bool = True,
    ) -> None:
        self._activations = dict(activations)
        self._architecture = architecture
        self.has_batch_dim = has_batch_dim
        self.has_pos_dim = has_pos_dim

    def __getitem__(self, key: NameLike) -> Tensor:
        try:
            full = resolve(key)
        except (TypeError, ValueError) as no_name:
            raise MissingActivationError(str(no_name)) from None
        if full not in self._activations:
            raise MissingActivationError(self._why_missing(full))
        return self._activations[full]

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        more = f", ... and {len(self) - 3} more" if len(self) > 3 else ""
        return f"ActivationCache({how_many(len(self), 'activation')}: {', '.join([*self][:3])}{more})"

    @property
    def n_layers(self) -> int:
        """The number of layers of the model."""
        return self._architecture.sizes.n_layers

    def to(self, device: torch.device | str) -> "ActivationCache":
        """The same cache with its tensors on another device."""
        moved = {name: value.to(device) for name, value in self._activations.items()}
        return ActivationCache(moved, self._architecture, self.has_batch_dim, self.has_pos_dim)

    def remove_batch_dim(self) -> "ActivationCache":
        """The cache of a single prompt without its batch axis.

        Raises:
            ValueError: more than one prompt, or the axis is gone already.
        """
        sizes = {len(value) for value in self._activations.values()}
        if not self.has_batch_dim or sizes != {1}:
            found = f"a batch of {sorted(sizes)}" if self.has_batch_dim else "no batch axis"
            raise ValueError(f"remove_batch_dim needs a batch of 1, this cache has {found}")
        single = {name: value[0] for name, value in self._activations.items()}
        return ActivationCache(single, self._architecture, False, self.has_pos_dim)

    def _why_missing(self, full: str) -> str:
        try:
            self._architecture.check_name(full)
        except ValueError as the_model_has_none:
            return str(the_model_has_none)
        return f"{full} is not in this cache of {how_many(len(self), 'activation')}: name it in names="

    def stack_activation(
        self, name: str, layer: int | None = None, layer_type: str | None = None, pos: Positions = None
    ) -> Float[Tensor, "layer ..."]:
        """One activation of the layers below `layer` (None: of all), stacked in front: `[layer, ...]`."""
        last = self._layer(layer)
        parts = [self._at(act_name(name, i, layer_type), pos) for i in range(last)]
        return torch.stack(parts) if parts else self._at(act_name(name, 0, layer_type), pos)[None][:0]

    def accumulated_resid(
        self,
        layer: int | None = None,
        incl_mid: bool = False,
        apply_ln: bool = False,
        return_labels: bool = False,
        pos: Positions = None,
    ) -> Float[Tensor, "component ..."] | Labelled:
        """The residual stream before each layer up to `layer`, and after the last one: `[component, ..., d_model]`.

        Args:
            layer: the layer to stop before; None for the whole model.
            incl_mid: with the stream between attention and MLP.
            apply_ln: each point divided by its own norm, before gain and bias, as a final norm there would: what
                `logit_lens` unembeds. `apply_ln_to_stack` divides all by the norm of this run's end instead.
            return_labels: return `(stack, labels)`.
            pos: which positions; None for all.
        """
        last = self._layer(layer)
        names = []
        for i in range(last):
            names += [("resid_pre", i)] + ([("resid_mid", i)] if incl_mid else [])
        labels = [f"{i}_{name.removeprefix('resid_')}" for name, i in names]
        whole = last == self.n_layers
        end = ("resid_post", last - 1) if whole else ("resid_pre", last)
        labels.append("final_post" if whole else f"{last}_pre")
        stack = torch.stack([self._at(act_name(*key), pos) for key in [*names, end]])
        stack = self._by_own_norm(stack) if apply_ln else stack
        return (stack, labels) if return_labels else stack

    def decompose_resid(
        self,
        layer: int | None = None,
        mode: Literal["all", "attn", "mlp"] = "all",
        incl_embeds: bool = True,
        apply_ln: bool = False,
        return_labels: bool = False,
        pos: Positions = None,
    ) -> Float[Tensor, "component ..."] | Labelled:
        """What was written to the stream before `layer`, part by part; the parts sum to the stream.

        Args:
            layer: the layer to stop before; None for the whole model.
            mode: attention and MLP outputs, or only one of the two.
            incl_embeds: with token and position embeddings as the first two parts.
            apply_ln: scaled by the LayerNorm that reads the stream there, as `apply_ln_to_stack` does.
            return_labels: return `(stack, labels)`.
            pos: which positions; None for all.

        Raises:
            ValueError: an unknown mode.
        """
        if mode not in ("all", "attn", "mlp"):
            raise ValueError(f"mode={mode!r}: use 'all', 'attn' or 'mlp'")
        parts, labels = [], []
        if incl_embeds:
            embeddings = [name for name in MODEL if act_name(name) in self._architecture.activation_names()]
            parts += [self._at(act_name(name), pos) for name in embeddings]
            labels += embeddings
        for i in range(self._layer(layer)):
            for name in ("attn_out", "mlp_out"):
                if mode in ("all", name.removesuffix("_out")):
                    parts.append(self._at(act_name(name, i), pos))
                    labels.append(f"{i}_{name}")
        stack = torch.stack(parts) if parts else self._at(self._end(0), pos)[None][:0]
        return self._finish(stack, labels, layer, apply_ln, return_labels, pos)

    def stack_head_results(
        self,
        layer: int | None = None,
        incl_remainder: bool = False,
        apply_ln: bool = False,
        return_labels: bool = False,
        pos: Positions = None,
    ) -> Float[Tensor, "component ..."] | Labelled:
        """What each head below `layer` wrote to the stream, layer by layer: `[layer * head, ..., d_model]`.

        Args:
            layer: the layer to stop before; None for the whole model.
            incl_remainder: with everything else in the stream there (embeddings, MLPs, biases) as the last part.
            apply_ln: scaled by the LayerNorm that reads the stream there, as `apply_ln_to_stack` does.
            return_labels: return `(stack, labels)`, labels such as `L5H1`.
            pos: which positions; None for all.
        """
        last, n_heads = self._layer(layer), self._architecture.sizes.n_heads
        stream = self._at(self._end(last), pos)
        stack = stream.new_empty(last * n_heads + incl_remainder, *stream.shape)
        for i in range(last):
            stack[i * n_heads : (i + 1) * n_heads] = self._head_results(i, pos)
        labels = [f"L{i}H{head}" for i in range(last) for head in range(n_heads)]
        if incl_remainder:
            stack[-1] = stream - stack[:-1].sum(0)
            labels.append("remainder")
        return self._finish(stack, labels, layer, apply_ln, return_labels, pos)

    def apply_ln_to_stack(
        self,
        residual_stack: Float[Tensor, "component ..."],
        layer: int | None = None,
        pos: Positions = None,
    ) -> Float[Tensor, "component ..."]:
        """Centre each part, as the norm does, and divide it by this run's scale, before gain and bias.

        Args:
            residual_stack: parts of the stream, `[component, ..., pos, d_model]`.
            layer: the layer whose `ln1` reads the stream; None for the final LayerNorm.
            pos: at which positions the parts are, if they were taken at some.

        Raises:
            ValueError: parts of other prompts or positions.
        """
        last = self._layer(layer)
        full = "ln_final.hook_scale" if last == self.n_layers else act_name("scale", last, "ln1")
        scale = self._at(full, pos)
        if residual_stack.shape[1:-1] != scale.shape[:-1]:
            raise ValueError(
                f"parts of shape {tuple(residual_stack.shape)} don't lie at this cache's prompts and positions, "
                f"{tuple(scale.shape[:-1])}: give [component, {', '.join(map(str, scale.shape[:-1]))}, d_model], or "
                "with pos= the positions that they were taken at"
            )
        return self._architecture.centred(residual_stack) / scale

    def logit_attrs(
        self,
        residual_stack: Float[Tensor, "component ..."],
        tokens: Int[Tensor, "..."] | int,
        incorrect_tokens: Int[Tensor, "..."] | int | None = None,
        pos: Positions = None,
    ) -> Float[Tensor, "component ..."]:
        """Direct logit attribution: what each part adds to a token's logit, or to a difference of two.

        Parts that sum to the final stream have attributions that sum to the logit less the constant that the
        final LayerNorm's bias adds (which drops out of a difference only where it is the same for both tokens).

        Args:
            residual_stack: parts of the stream, `[component, (batch,) (pos,) d_model]`, not yet scaled.
            tokens: the tokens: a number, `[batch]`, or one for each prompt and position as in the stack.
            incorrect_tokens: tokens to subtract, likewise.
            pos: at which positions the parts are, if they were taken at some: what the stack was made with.

        Returns:
            Attributions in logits, `[component, (batch,) (pos,)]`.

        Raises:
            ValueError: parts of other prompts or positions, or another number of tokens than prompts.
        """
        scaled = self.apply_ln_to_stack(residual_stack, pos=pos)
        directions = self._directions("tokens", tokens, scaled)
        if incorrect_tokens is not None:
            directions = directions - self._directions("incorrect_tokens", incorrect_tokens, scaled)
        return (scaled * directions).sum(-1)

    def logit_lens(
        self, incl_mid: bool = False, pos: Positions = None
    ) -> Float[Tensor, "component ... vocab"]:
        """Logits read from the stream before each layer and after the last one.

        Args:
            incl_mid: with the stream between attention and MLP.
            pos: which positions; None for all.

        Returns:
            Logits, `[component, (batch,) (pos,) vocab]`.
        """
        stack = self.accumulated_resid(incl_mid=incl_mid, pos=pos)
        assert isinstance(stack, Tensor)
        return self._architecture.unembed(stack)

    def _directions(self, name: str, tokens: Tensor | int, stack: Tensor) -> Tensor:
        ids = torch.as_tensor(tokens, device=stack.device)
        places = stack.shape[1:-1]
        per_prompt = self.has_batch_dim and ids.shape == places[:1]
        if ids.ndim and not per_prompt and ids.shape != places:
            prompts = f"{places[0]} numbers, one a prompt, or " if self.has_batch_dim else ""
            raise ValueError(
                f"{name} of shape {tuple(ids.shape)} for a stack at {tuple(places)}: give a number, {prompts}one each"
            )
        directions = self._architecture.unembedding_directions(ids)
        # The tokens of prompts hold for every position.
        return directions.unsqueeze(-2) if per_prompt and len(places) == 2 else directions

    def _at(self, full: str, pos: Positions) -> Tensor:
        """An activation at some positions."""
        if pos is not None and not self.has_pos_dim:
            raise ValueError(f"pos={pos!r}: this cache holds one position of each prompt already")
        return at_positions(self[full], pos, position_axis(full, self.has_batch_dim), self.has_batch_dim)

    def _head_results(self, layer: int, pos: Positions) -> Tensor:
        if (full := act_name("result", layer)) in self._activations:
            return self._at(full, pos).movedim(-2, 0)
        return self._architecture.write_heads(layer, self._at(act_name("z", layer), pos))

    def _end(self, last: int) -> str:
        """The name of the stream before a layer, or after the last one."""
        return act_name("resid_post", last - 1) if last == self.n_layers else act_name("resid_pre", last)

    def _by_own_norm(self, stack: Tensor) -> Tensor:
        centred = self._architecture.centred(stack)
        return centred / (centred.square().mean(-1, keepdim=True) + self._architecture.norm_epsilon).sqrt()

    def _finish(
        self,
        stack: Tensor,
        labels: list[str],
        layer: int | None,
        apply_ln: bool,
        return_labels: bool,
        pos: Positions,
    ) -> Tensor | Labelled:
        stack = self.apply_ln_to_stack(stack, layer, pos) if apply_ln else stack
        return (stack, labels) if return_labels else stack

    def _layer(self, layer: int | None) -> int:
        # -1 is TransformerLens's way to say the whole model.
        if layer is None or layer == -1:
            return self.n_layers
        if not 0 <= layer <= self.n_layers:
            raise ValueError(f"layer={layer}: the model has layers 0 to {self.n_layers - 1}")
        return layer
