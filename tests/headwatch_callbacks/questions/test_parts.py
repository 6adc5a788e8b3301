"""A question in parts: the parts answer together what the whole answers, whatever is asked and of how many."""

import pytest
import torch

from headwatch.model.find import find_architecture
from headwatch_callbacks.questions import Ablation, Attention, Patching
from headwatch_callbacks.questions.pair_shares import shares
from headwatch_callbacks.questions.pass_plan import Plan
from headwatch_callbacks.questions.question import Moment
from headwatch_callbacks.questions.run_pass import no_progress
from tests.models import random_pairs, tiny_gpt2

UNEVEN, SAME = random_pairs(n=7, lengths=[9, 5, 7, 9, 5, 5, 8]), random_pairs(n=7)
ASKED = {
    "mean": Ablation(UNEVEN, metric="loss"),
    "several metrics": Ablation(UNEVEN, kind="zero", metric=["loss", "logit_diff"]),
    "resample given": Ablation(SAME, kind="resample", metric="loss", given=[(0, 1)]),
    "position mean by hooks": Ablation(SAME, kind="position_mean", metric="loss", engine="hooks", layers=[1]),
    "denoise": Patching(UNEVEN, metric="kl"),
    "noise by position": Patching(SAME, site="resid_pre", direction="noise", metric="loss", by_position=True),
    "fewer pairs": Ablation(random_pairs(n=16), metric="loss"),
}
NETWORK = find_architecture(tiny_gpt2().double())


def measured(question):
    with torch.no_grad():
        return question.measure(NETWORK.model, Moment(3, 1), no_progress)


@pytest.mark.parametrize("n_parts", [2, 20])
@pytest.mark.parametrize("name", ASKED)
def test_the_parts_answer_what_the_whole_does(name, n_parts):
    question = ASKED[name]
    question.prepare(NETWORK)
    if name == "fewer pairs":  # whose means are those of all pairs
        question = question.reduced(Plan(n_pairs=8))
    parts = question.parts(n_parts)
    assert len(parts) == min(n_parts, len(question.pairs))
    whole, joined = measured(question), question.joined([measured(part) for part in parts])
    assert len(whole) == len(joined)
    for ours, theirs in zip(joined, whole, strict=True):
        assert (ours.label, ours.step, ours.epoch, ours.pairs) == (theirs.label, 3, 1, question.pairs)
        assert ours.scalars == pytest.approx(theirs.scalars, abs=1e-6)
        for values in ("per_pair", "clean", "corrupted", "given"):
            one, other = (getattr(each.effects, values) for each in (ours, theirs))
            assert (one is None) == (other is None)
            assert one is None or (one.shape == other.shape and (one - other).abs().max() < 1e-6)
        assert ours.effects.coords == theirs.effects.coords


def test_every_share_has_prompts_of_each_length_and_none_is_run_twice():
    found = shares(random_pairs(n=12, lengths=[9, 5, 7] * 4), 4)
    assert [sorted((rows % 3).tolist()) for rows in found] == [[0, 1, 2]] * 4
    assert torch.cat(found).sort().values.tolist() == list(range(12))


def test_an_estimate_and_attention_maps_have_one_part():
    for question in (Ablation(UNEVEN, metric="loss", target_stderr="2%"), Attention(UNEVEN)):
        question.prepare(NETWORK)
        assert question.parts(3) == (question,)
        [answer] = measured(question)
        assert question.joined([[answer]]) == [answer]
