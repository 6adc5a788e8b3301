"""How an intervention enters the residual stream: every site comes down to new values of the stream at one stage.

A head's z, q, k, v, pattern or result changes the stream after attention by what that head writes; heads do not
see each other, so one attention call serves all heads of a layer. A neuron changes the stream after the MLP by
one row of its output matrix.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import BaseRun
from headwatch.engine.pinned_heads import PinnedHeads, pin
from headwatch.engine.streams import Streams
from headwatch.engine.work_items import WorkItem
from headwatch.interventions.batching import trim
from headwatch.interventions.sites import Site
from headwatch.model.attention import head_outputs


def inject(
    base: BaseRun, site: Site, item: WorkItem, new: Tensor, pinned: Sequence[PinnedHeads] = ()
) -> Streams:
    """The streams with which interventions start, at their site's stage.

    Args:
        base: the base run.
        site: what is replaced.
        item: which interventions.
        new: the new values of the site in this layer, broadcastable to its activation.
        pinned: what the interventions pin in this layer, where they are sets of heads.
    """
    start, end = _affected_positions(base, site, item)
    if start >= base.n_shared:
        return Streams(_stream(base, site, item, new, pinned, start, end), start, end, item.index)
    prefix, middle = base.shared_prefix, min(end, base.n_shared)
    first = _stream(prefix, site, item, trim(site, new, base.n_shared), pinned, start, middle)
    of_prefix = Streams(first, start, middle, item.index)
    start, end = base.n_shared, max(end, base.n_shared)
    return Streams(_stream(base, site, item, new, pinned, start, end), start, end, item.index, of_prefix)


def _stream(
    base: BaseRun,
    site: Site,
    item: WorkItem,
    new: Tensor,
    pinned: Sequence[PinnedHeads],
    start: int,
    end: int,
) -> Float[Tensor, "intervention pair pos d_model"]:
    """The streams of the interventions at some positions."""
    if start == end:
        return base.pre[0].new_zeros(len(item.index), base.n_pairs, 0, base.network.sizes.d_model)
    if pinned:
        return _sets(base, item, pinned, start, end)
    of_unit = {"head": _heads, "neuron": _neurons, "layer": _whole}[site.unit]
    return of_unit(base, site, item, new, start, end)


def _sets(
    base: BaseRun, item: WorkItem, pinned: Sequence[PinnedHeads], start: int, end: int
) -> Float[Tensor, "intervention pair pos d_model"]:
    shape = (len(item.index), base.n_pairs, end - start)
    z = base.z[item.layer][None, :, start:end].expand(*shape, -1, -1)
    stream = base.pre[item.layer][None, :, start:end].expand(*shape, -1)
    return base.network.after_attention(item.layer, stream, pin(pinned, "z", z, start))


def _affected_positions(base: BaseRun, site: Site, item: WorkItem) -> tuple[int, int]:
    """The positions of the stream that change when the interventions enter."""
    if base.answer_only_in(item.layer) and site.stage != "pre":
        return base.length - 1, base.length
    if item.position is None or site.name in ("k", "v"):
        return item.start, base.length
    return item.position, item.position + 1


def _whole(
    base: BaseRun, site: Site, item: WorkItem, new: Tensor, start: int, end: int
) -> Float[Tensor, "1 pair pos d_model"]:
    value = _at(new, start, end).expand(base.n_pairs, end - start, base.network.sizes.d_model)
    if site.name == "attn_out":
        value = base.without_attention(item.layer)[:, start:end] + value
    if site.name == "mlp_out":
        value = base.without_mlp(item.layer)[:, start:end] + value
    return value[None]


def _neurons(
    base: BaseRun, site: Site, item: WorkItem, new: Tensor, start: int, end: int
) -> Float[Tensor, "intervention pair pos d_model"]:
    assert item.units is not None
    units, network = list(item.units), base.network
    read = base.read_by_mlp(item.layer)[:, start:end]
    _, post = network.neurons(item.layer, read)
    value = _at(new, start, end).expand_as(post)[..., units]
    value = network.activate(item.layer, value, read, item.units) if site.name == "pre" else value
    written = network.write_neurons(item.layer, value - post[..., units], item.units)
    return base.pre[item.layer + 1][:, start:end] + written


def _heads(
    base: BaseRun, site: Site, item: WorkItem, new: Tensor, start: int, end: int
) -> Float[Tensor, "intervention pair pos d_model"]:
    assert item.units is not None
    layer, network, old = item.layer, base.network, base.z[item.layer][:, start:end]
    units = list(item.units)
    if site.name == "result":
        value = _at(new, start, end).expand(*old.shape[:3], network.sizes.d_model)[:, :, units].movedim(2, 0)
        written = value - network.write_heads(layer, old[:, :, units], item.units)
    else:
        changed = _z_after_replacing(base, site, item, new, start, end) - old
        written = _written(
            base, layer, changed, item.units, network.sizes.n_heads // network.sizes.units(site.name)
        )
    return base.mid[layer][:, start:end] + written


def _written(
    base: BaseRun,
    layer: int,
    changed: Float[Tensor, "pair pos head d_head"],
    units: tuple[int, ...],
    group: int,
) -> Float[Tensor, "intervention pair pos d_model"]:
    """What changes of z add to the stream, unit by unit; a unit is the group of heads that shares keys and values."""
    heads = tuple(unit * group + member for unit in units for member in range(group))
    written = base.network.write_heads(layer, changed[:, :, list(heads)], heads)
    return written if group == 1 else written.unflatten(0, (len(units), group)).sum(1)


def _z_after_replacing(
    base: BaseRun, site: Site, item: WorkItem, new: Tensor, start: int, end: int
) -> Float[Tensor, "pair pos head d_head"]:
    """Every head's z at some positions when that head's own site has its new value."""
    layer = item.layer
    q, k, v, z = base.q[layer], base.k[layer], base.v[layer], base.z[layer]
    if site.name == "z":
        return _at(new, start, end).expand(base.n_pairs, end - start, *z.shape[2:])
    if site.name == "pattern":
        pattern = new[:, :, start:end] if new.ndim == 4 and new.shape[2] > 1 else new
        return head_outputs(pattern.expand(base.n_pairs, z.shape[2], end - start, base.length), v)
    if site.name == "q":
        q = new.expand_as(q)
    else:
        where = slice(None) if item.position is None else slice(item.position, item.position + 1)
        replaced = (k if site.name == "k" else v).clone()
        replaced[:, where] = new.expand_as(k)[:, where]
        k, v = (replaced, v) if site.name == "k" else (k, replaced)
    return base.network.attend(layer, q[:, start:end], k, v, start)


def _at(new: Tensor, start: int, end: int) -> Tensor:
    """New values at some positions, for `[pair, pos, ...]` or anything that broadcasts to it."""
    return new[:, start:end] if new.ndim > 1 and new.shape[1] > 1 else new
