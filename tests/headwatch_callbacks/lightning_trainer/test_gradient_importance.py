"""Gradient importance from the training's own backward pass, against gradients taken by hand."""

import warnings

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from headwatch.record import Record
from headwatch_callbacks import GradientImportance, HeadAblation, record_folder
from tests.headwatch_callbacks.training import QUIET, Language, batches, differences, trained, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


class Plain(Language):
    """A run whose loss is the mean over its own batch, that never moves, so that it can be redone by hand."""

    def __init__(self):
        super().__init__(attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)

    def training_step(self, batch, batch_idx):
        return self.gpt(**batch).loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(module, root, probe=None, padded=True, **settings):
    run = trainer([probe or GradientImportance()], root, **{"max_steps": 3} | settings)
    run.fit(module, batches(6, shuffle=False, padded=padded), batches(2, shuffle=False))
    return run


def scores(run):
    return [torch.from_numpy(entry.scores["importance"]) for entry in Record.read(record_folder(run)).scores]


def by_hand(module, data):
    """E|z · ∂L/∂z| over real tokens: z kept with its gradient by a hook on each output projection."""
    total, tokens, kept = torch.zeros(3, 4), 0, []

    def keep(_, args):
        args[0].retain_grad()
        kept.append(args[0])

    handles = [block.attn.c_proj.register_forward_pre_hook(keep) for block in module.gpt.transformer.h]
    for batch in data:
        kept.clear()
        module.gpt(**batch).loss.backward()
        for layer, z in enumerate(kept):
            products = (z * z.grad).unflatten(-1, (4, 8)).sum(-1).abs()
            total[layer] += (products * batch["attention_mask"][..., None]).sum((0, 1)).detach()
        tokens += batch["attention_mask"].sum()
    for handle in handles:
        handle.remove()
    return total / tokens


def rows(n, padded=True):
    data = list(batches(6, shuffle=False, padded=padded))
    return data[:n]


@pytest.mark.parametrize("padded", [True, False])
def test_importance_is_that_of_gradients_taken_by_hand(padded, tmp_path):
    module = Plain()
    (found,) = scores(fit(module, tmp_path, padded=padded))
    torch.testing.assert_close(found, by_hand(module, rows(3, padded)), rtol=1e-5, atol=1e-9)


def test_accumulation_does_not_make_it_smaller(tmp_path):
    module = Plain()
    (found,) = scores(fit(module, tmp_path, accumulate_grad_batches=2))
    torch.testing.assert_close(found, by_hand(module, rows(6)), rtol=1e-5, atol=1e-9)


def test_the_loss_scale_of_half_precision_is_undone(tmp_path):
    module = Plain()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    (found,) = scores(fit(module, tmp_path, plugins=[plugin], accumulate_grad_batches=2, max_steps=2))
    torch.testing.assert_close(found, by_hand(module, rows(4)), rtol=0.05, atol=1e-5)


def test_each_result_is_about_the_steps_since_the_last_one(tmp_path):
    module = Plain()
    first, second = scores(fit(module, tmp_path, GradientImportance(every_n_train_steps=2), max_steps=4))
    data = rows(4)
    torch.testing.assert_close(first, by_hand(module, data[:2]), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(second, by_hand(module, data[2:]), rtol=1e-5, atol=1e-9)


def test_each_layer_is_divided_by_its_norm(tmp_path):
    run = fit(Plain(), tmp_path)
    (entry,) = Record.read(record_folder(run)).scores
    norms = torch.from_numpy(entry.scores["importance_in_layer"]).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(3))


def test_validation_and_other_probes_are_not_listened_to(tmp_path):
    module = Plain()
    probes = [GradientImportance(), HeadAblation(random_pairs(), every_n_train_steps=1)]
    run = trainer(probes, tmp_path, max_steps=3, val_check_interval=1)
    run.fit(module, batches(6, shuffle=False, padded=True), batches(2, shuffle=False))
    (found,) = scores(run)
    torch.testing.assert_close(found, by_hand(module, rows(3)), rtol=1e-5, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*ended before the epoch ended")
def test_resuming_goes_on_with_what_was_heard(tmp_path):
    module, options = Plain(), {"every_n_train_steps": 4, "at_end": False}
    fit(module, tmp_path, GradientImportance(**options), max_steps=2).save_checkpoint(tmp_path / "kept.ckpt")
    run = trainer([GradientImportance(**options)], tmp_path / "later", max_steps=4)
    # The loader is not resumable: the second half sees the first batches again.
    run.fit(
        module,
        batches(6, shuffle=False, padded=True),
        batches(2, shuffle=False),
        ckpt_path=tmp_path / "kept.ckpt",
    )
    (found,) = scores(run)
    data = rows(2)
    torch.testing.assert_close(found, by_hand(module, [*data, *data]), rtol=1e-5, atol=1e-9)


def test_a_step_without_the_gpt2_is_warned_about(tmp_path):
    class Elsewhere(Plain):
        def training_step(self, batch, batch_idx):
            return self.norm(torch.ones(2, 4)).sum()

    with pytest.warns(UserWarning, match="no gradient reached any head"):
        run = fit(Elsewhere(), tmp_path)
    assert scores(run) == []


def test_a_compiled_model_is_warned_about_and_no_zeros_are_shown(tmp_path):
    module = Plain()
    module.gpt.compile(backend="eager")
    with pytest.warns(
        UserWarning, match="gradients can't listen inside a model that torch.compile has compiled"
    ):
        run = fit(module, tmp_path, max_steps=1)
    assert scores(run) == []


def forward_compiled(module):
    module.gpt.forward = torch.compile(module.gpt.forward, backend="eager")


def closure_compiled(module):
    step = torch.compile(lambda batch: module.gpt(**batch).loss, backend="eager")
    module.training_step = lambda batch, batch_idx: step(batch)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("compiled", [forward_compiled, closure_compiled])
def test_a_compiled_function_is_warned_about_once_and_trains_as_without(compiled, tmp_path):
    traces, frames = [], []
    for probes in ([], [GradientImportance(every_n_train_steps=2)]):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        torch.manual_seed(0)
        module = Language()
        compiled(module)
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", "the probe")
            traces.append(trained(probes, tmp_path / str(len(probes)), module).everything())
        frames.append(dict(torch._dynamo.utils.counters["frames"]))
        told = [str(each.message) for each in caught if str(each.message).startswith("the probe")]
        assert len(told) == len(probes)
        assert all("calls it in a function that torch.compile has compiled" in each for each in told)
    changed = [path for path in differences(*traces) if not path.startswith("/rng/2")]
    assert changed == []
    assert frames[0]["ok"] > 0
    assert frames[0] == frames[1]


def test_before_the_first_step_there_is_nothing_to_ask_for():
    with pytest.raises(TypeError, match="before_first"):
        GradientImportance(before_first=True)


def test_evaluation_has_no_gradients(tmp_path):
    run = trainer([GradientImportance()], tmp_path)
    run.validate(Plain(), batches(2, shuffle=False), verbose=False)
    assert record_folder(run) is None
