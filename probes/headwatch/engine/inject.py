"""How an intervention enters the residual stream: every site comes down to new values of the stream at one stage.

A head's z, q, k, v, pattern or result changes the stream after attention by what that head writes; heads do not
see each other, so one attention call serves all heads of a layer. A neuron changes the stream after the MLP by
one row of its output matrix.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from headwatch.engine.base_run import PlainRun
from headwatch.engine.pinned_heads import Held, hold
from headwatch.engine.streams import Rows
from headwatch.engine.work_items import Job
from headwatch.interventions.batching import trim
from headwatch.interventions.sites import Site
from headwatch.model.attention import attend


def enter(run: PlainRun, site: Site, job: Job, new: Tensor, held: Sequence[Held] = ()) -> Rows:
    """The rows with which interventions start, at their site's stage.

    Args:
        run: the plain run.
        site: what is replaced.
        job: which interventions.
        new: the new values of the site in this layer, broadcastable to its activation.
        held: what the interventions hold in this layer, where they are sets of heads.
    """
    start, end = _span(run, site, job)
    if start >= run.lead:
        return Rows(_stream(run, site, job, new, held, start, end), start, end, job.index)
    trunk, middle = run.trunk, min(end, run.lead)
    first = _stream(trunk, site, job, trim(site, new, run.lead), held, start, middle)
    lead = Rows(first, start, middle, job.index)
    start, end = run.lead, max(end, run.lead)
    return Rows(_stream(run, site, job, new, held, start, end), start, end, job.index, lead)


def _stream(
    run: PlainRun, site: Site, job: Job, new: Tensor, held: Sequence[Held], start: int, end: int
) -> Float[Tensor, "row pair pos d_model"]:
    """The streams of the interventions at some positions."""
    if start == end:
        return run.pre[0].new_zeros(len(job.index), run.n_pairs, 0, run.parts.sizes.d_model)
    if held:
        return _sets(run, job, held, start, end)
    of_unit = {"head": _heads, "neuron": _neurons, "layer": _whole}[site.unit]
    return of_unit(run, site, job, new, start, end)


def _sets(
    run: PlainRun, job: Job, held: Sequence[Held], start: int, end: int
) -> Float[Tensor, "row pair pos d_model"]:
    shape = (len(job.index), run.n_pairs, end - start)
    z = run.z[job.layer][None, :, start:end].expand(*shape, -1, -1)
    stream = run.pre[job.layer][None, :, start:end].expand(*shape, -1)
    return run.parts.after_attention(job.layer, stream, hold(held, "z", z, start))


def _span(run: PlainRun, site: Site, job: Job) -> tuple[int, int]:
    """The positions of the stream that change when the interventions enter."""
    if run.answer_only_in(job.layer) and site.stage != "pre":
        return run.length - 1, run.length
    if job.position is None or site.name in ("k", "v"):
        return job.start, run.length
    return job.position, job.position + 1


def _whole(
    run: PlainRun, site: Site, job: Job, new: Tensor, start: int, end: int
) -> Float[Tensor, "1 pair pos d_model"]:
    value = _at(new, start, end).expand(run.n_pairs, end - start, run.parts.sizes.d_model)
    if site.name == "attn_out":
        value = run.pre[job.layer][:, start:end] + value
    if site.name == "mlp_out":
        value = run.mid[job.layer][:, start:end] + value
    return value[None]


def _neurons(
    run: PlainRun, site: Site, job: Job, new: Tensor, start: int, end: int
) -> Float[Tensor, "row pair pos d_model"]:
    assert job.units is not None
    units, parts = list(job.units), run.parts
    _, post = parts.neurons(job.layer, run.mid[job.layer][:, start:end])
    value = _at(new, start, end).expand_as(post)[..., units]
    value = parts.activate(job.layer, value) if site.name == "pre" else value
    written = parts.write_neurons(job.layer, value - post[..., units], job.units)
    return run.pre[job.layer + 1][:, start:end] + written


def _heads(
    run: PlainRun, site: Site, job: Job, new: Tensor, start: int, end: int
) -> Float[Tensor, "row pair pos d_model"]:
    assert job.units is not None
    units, layer, parts = list(job.units), job.layer, run.parts
    old = run.z[layer][:, start:end]
    if site.name == "result":
        value = _at(new, start, end).expand(*old.shape[:3], parts.sizes.d_model)[:, :, units].movedim(2, 0)
        written = value - parts.write_heads(layer, old[:, :, units], job.units)
    else:
        changed = _new_z(run, site, job, new, start, end)[:, :, units]
        written = parts.write_heads(layer, changed - old[:, :, units], job.units)
    return run.mid[layer][:, start:end] + written


def _new_z(
    run: PlainRun, site: Site, job: Job, new: Tensor, start: int, end: int
) -> Float[Tensor, "pair pos head d_head"]:
    """Every head's z at some positions when that head's own site has its new value."""
    layer = job.layer
    q, k, v = run.q[layer], run.k[layer], run.v[layer]
    if site.name == "z":
        return _at(new, start, end).expand(run.n_pairs, end - start, *q.shape[2:])
    if site.name == "pattern":
        rows = new[:, :, start:end] if new.ndim == 4 and new.shape[2] > 1 else new
        return (rows.expand(*q.shape[:1], q.shape[2], end - start, run.length) @ v.transpose(1, 2)).transpose(
            1, 2
        )
    value = new.expand_as(q)
    if site.name == "q":
        q = value
    else:
        where = slice(None) if job.position is None else slice(job.position, job.position + 1)
        replaced = (k if site.name == "k" else v).clone()
        replaced[:, where] = value[:, where]
        k, v = (replaced, v) if site.name == "k" else (k, replaced)
    return attend(q[:, start:end], k, v, run.parts.scaling(layer), start)


def _at(new: Tensor, start: int, end: int) -> Tensor:
    """New values at some positions, for `[pair, pos, ...]` or anything that broadcasts to it."""
    return new[:, start:end] if new.ndim > 1 and new.shape[1] > 1 else new
