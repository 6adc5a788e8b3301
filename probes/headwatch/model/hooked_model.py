"""Hook points on the user's own model: read and replace any named activation, then leave nothing behind.

`attach` makes no copy of the weights and changes nothing by itself: torch hooks exist only while one of its
runs is under way. Train or eval mode and gradient mode are the caller's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headwatch.model.activation_cache import ActivationCache
from headwatch.model.activation_names import NameLike, parse, resolve
from headwatch.model.architecture import Architecture, Sizes
from headwatch.model.attention import causal_mask
from headwatch.model.find import find_architecture
from headwatch.model.positions import Positions, at_positions, position_axis
from headwatch.model.torch_hooks import ForwardHooks


@dataclass(frozen=True)
class HookPoint:
    """Where a hook function was called: the activation's full name and its layer (None outside the blocks).

    Example:
        >>> def tell(value, hook):
        ...     print(hook.name, hook.layer)
        >>> with hw.attach(model) as hooked:
        ...     logits = hooked.run_with_hooks(ids, fwd_hooks=[("z5", tell)])
        blocks.5.attn.hook_z 5
    """

    name: str
    layer: int | None


HookFunction = Callable[[Tensor, HookPoint], Tensor | None]
Names = NameLike | Sequence[NameLike] | Callable[[str], bool] | None


@dataclass(repr=False)
class HookedModel:
    """A model with hook points, made by `attach`.

    Example:
        >>> with hw.attach(model) as hooked:
        ...     without = hooked.run_with_hooks(ids, fwd_hooks=[("z5", lambda z, hook: z * 0)])
        >>> without.shape[-1] == len(tokenizer)                            # [batch, pos, vocab]
        True

    Attributes:
        architecture: the user's own model, in its parts.
    """

    architecture: Architecture
    _open: bool = True

    @property
    def model(self) -> nn.Module:
        """The user's own model."""
        return self.architecture.model

    @property
    def sizes(self) -> Sizes:
        """Its sizes."""
        return self.architecture.sizes

    def __repr__(self) -> str:
        ended = "" if self._open else ", its attach() block has ended"
        return f"HookedModel({type(self.model).__name__}, {self.sizes.in_words}{ended})"

    def __enter__(self) -> "HookedModel":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open = False

    def run_with_cache(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        names: Names = None,
        *,
        fwd_hooks: Sequence[tuple[Names, HookFunction]] = (),
        detach: bool = True,
        logits_at: int | None = None,
        pos: Positions = None,
    ) -> tuple[Float[Tensor, "batch pos vocab"], ActivationCache]:
        """Run the model and keep activations.

        Args:
            ids: token ids, `[batch, pos]` or `[pos]`.
            attention_mask: 1 for real tokens, 0 for padding on either side, `[batch, pos]`.
            names: which activations to keep: None for all, a name, a list of names, or a predicate on full names.
            fwd_hooks: hook functions to run as well; the cache holds what they leave.
            detach: False keeps the activations in the autograd graph.
            logits_at: the one position whose logits are wanted, which saves working out the others; None for all.
            pos: at which positions activations are kept: a number, or one number a prompt, both of which take that
                axis away, or a slice; None for all. Patterns are kept at these queries.

        Returns:
            Logits `[batch, pos, vocab]`, or `[batch, 1, vocab]` of the one position, and the cache.

        Raises:
            ValueError: an unknown name, a layer that the model lacks, bad ids, a position that isn't there, or a
                hook's wrong shape.
            RuntimeError: a name that never fired.
        """
        if pos is not None and not detach:
            raise ValueError(
                f"pos={pos!r} with detach=False: what is kept of some positions lies beside the graph; keep all"
            )
        functions, kept = self._hooks_by_name(fwd_hooks), dict[str, Tensor]()
        logits = self._run(ids, attention_mask, functions, self._select(names), kept, detach, logits_at, pos)
        if detach:
            kept = {name: value.detach() for name, value in kept.items()}
        order = [name for name in self.architecture.activation_names() if name in kept]
        activations = {name: kept[name] for name in order}
        has_pos_dim = pos is None or isinstance(pos, slice)
        return logits, ActivationCache(activations, self.architecture, has_pos_dim=has_pos_dim)

    def run_with_hooks(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        fwd_hooks: Sequence[tuple[Names, HookFunction]],
    ) -> Float[Tensor, "batch pos vocab"]:
        """Run the model with functions that read or replace activations.

        Args:
            ids: token ids, `[batch, pos]` or `[pos]`.
            attention_mask: 1 for real tokens, 0 for padding, `[batch, pos]`.
            fwd_hooks: pairs of a name (or predicate) and a function `fn(value, hook)`, which returns the value to
                go on with, or None to keep the one it got (changed in place or not).

        Returns:
            Logits `[batch, pos, vocab]`.

        Raises:
            ValueError: an unknown name, a layer that the model lacks, bad ids, or a hook's wrong shape.
            RuntimeError: a name that never fired.
        """
        return self._run(ids, attention_mask, self._hooks_by_name(fwd_hooks), frozenset(), {}, True)

    def _run(
        self,
        ids: Tensor,
        attention_mask: Tensor | None,
        functions: dict[str, list[HookFunction]],
        keep: frozenset[str],
        kept: dict[str, Tensor],
        detach: bool,
        logits_at: int | None = None,
        pos: Positions = None,
    ) -> Tensor:
        if not self._open:
            raise RuntimeError("this attach() block has ended: call attach(model) again")
        ids = self._check_ids(ids, attention_mask)
        fired: set[str] = set()

        def fire(name: str, value: Tensor) -> Tensor | None:
            fired.add(name)
            replaced = _apply(functions.get(name, ()), HookPoint(name, parse(name).layer), value)
            if name in keep:
                current = value if replaced is None else replaced
                kept[name] = current if pos is None else _alone(name, current, pos)
                # What stays in the graph must lie on the way to the logits, not beside it as a view.
                return replaced if detach else kept[name]
            return replaced

        wanted = keep | frozenset(functions)
        allowed = causal_mask(ids, attention_mask)
        with torch.compiler.set_stance("force_eager"):
            with ForwardHooks(wanted, fire, allowed) as hooks:
                self.architecture.install(hooks)
                if logits_at is None:
                    logits = self.architecture.forward(ids, attention_mask)
                else:
                    logits = self.architecture.forward_at(ids, attention_mask, logits_at)
        if missing := sorted(wanted - fired):
            raise RuntimeError(
                f"{', '.join(missing)} never fired: this {type(self.model).__name__}'s forward bypasses the module "
                "that holds it (a patched or fused forward); headwatch needs the modules to be called"
            )
        return logits

    def _check_ids(self, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        ids = ids[None] if ids.ndim == 1 else ids
        if ids.ndim != 2 or ids.numel() == 0 or ids.is_floating_point():
            raise ValueError(f"ids are integers of shape [batch, pos], got {ids.dtype} {tuple(ids.shape)}")
        if ids.shape[1] > self.sizes.n_positions:
            raise ValueError(f"ids have {ids.shape[1]} positions, the model has {self.sizes.n_positions}")
        if not 0 <= int(ids.min()) <= int(ids.max()) < self.sizes.d_vocab:
            raise ValueError(
                f"ids run from {int(ids.min())} to {int(ids.max())}, the vocabulary from 0 to {self.sizes.d_vocab - 1}"
            )
        if attention_mask is not None and attention_mask.shape != ids.shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, ids have {tuple(ids.shape)}"
            )
        return ids

    def _hooks_by_name(
        self, fwd_hooks: Sequence[tuple[Names, HookFunction]]
    ) -> dict[str, list[HookFunction]]:
        by_name: dict[str, list[HookFunction]] = {}
        for names, function in fwd_hooks:
            for name in self._select(names):
                by_name.setdefault(name, []).append(function)
        return by_name

    def _select(self, names: Names) -> frozenset[str]:
        available = self.architecture.activation_names()
        if names is None:
            return frozenset(available)
        if callable(names):
            chosen = frozenset(name for name in available if names(name))
            if not chosen:
                raise ValueError(f"the names predicate chose none of the {len(available)} activations")
            return chosen
        return frozenset(self.architecture.check_name(resolve(name)) for name in _each(names))


def attach(model: nn.Module, name: str | None = None) -> HookedModel:
    """Give a model hook points: `with attach(model) as hooked: ...`.

    Example:
        >>> with hw.attach(model) as hooked:
        ...     logits, cache = hooked.run_with_cache(ids, names=["pattern5", "z5"])
        >>> list(cache)
        ['blocks.5.attn.hook_pattern', 'blocks.5.attn.hook_z']

    Args:
        model: Hugging Face's GPT-2 with its LM head, or anything that contains one (peft, `torch.compile`, a
            LightningModule).
        name: the dotted path of the sub-module to look in, where there are several.

    Raises:
        ValueError: no known network in it, or several.
    """
    return HookedModel(find_architecture(model, name))


def _each(names: NameLike | Sequence[NameLike]) -> Iterator[NameLike]:
    """The names in a single name, a tuple such as ("z", 5), or a list of either."""
    is_one_tuple = isinstance(names, tuple) and len(names) in (2, 3) and isinstance(names[1], int)
    if isinstance(names, str) or is_one_tuple:
        yield names  # type: ignore[misc]
    else:
        yield from names  # type: ignore[misc]


def _alone(name: str, value: Tensor, pos: Positions) -> Tensor:
    """An activation at some positions, without the memory of the others."""
    return at_positions(value, pos, position_axis(name, True), True).clone()


def _apply(functions: Iterable[HookFunction], point: HookPoint, value: Tensor) -> Tensor | None:
    """Pass a value through hook functions; None if they left it as it was."""
    current, changed = value, False
    for function in functions:
        before = _version(current)
        returned = function(current, point)
        if returned is None:
            changed = changed or before is None or _version(current) != before
            continue
        if not isinstance(returned, Tensor):
            raise TypeError(
                f"the hook on {point.name} returned {type(returned).__name__}: return a tensor or None"
            )
        if returned.shape != value.shape:
            raise ValueError(
                f"the hook on {point.name} returned shape {tuple(returned.shape)}, expected {tuple(value.shape)}"
            )
        current, changed = returned.to(value.dtype), True
    return current if changed else None


def _version(value: Tensor) -> int | None:
    """How often a tensor was changed in place; None where torch doesn't count (inference mode)."""
    return None if value.is_inference() else value._version
