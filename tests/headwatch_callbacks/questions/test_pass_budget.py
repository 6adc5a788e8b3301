"""One probe's budget: what it learns from passes, and what it says of those that were skipped."""

import pytest
import torch

from headwatch.effects import Effects
from headwatch.model.find import find_architecture
from headwatch_callbacks.questions import Ablation, Moment, Patching
from headwatch_callbacks.questions.overhead_controller import Situation
from headwatch_callbacks.questions.pass_budget import PassBudget
from headwatch_callbacks.questions.pass_plan import Plan
from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.questions.run_pass import no_progress
from headwatch_callbacks.questions.training_clock import TrainingClock
from tests.models import random_pairs, tiny_gpt2

PAIRS = random_pairs(n=64, length=6)
NETWORK = find_architecture(tiny_gpt2())


def budget_of(max_overhead=0.05, **options):
    question = Ablation(PAIRS, metric="loss", **options)
    question.prepare(NETWORK)
    return PassBudget(question, NETWORK, max_overhead)


def answer(question, step, shift, seconds=0.8):
    """A pass whose heads differ from another's by a shift and by a hundredth of the spread over pairs."""
    generator = torch.Generator().manual_seed(step)
    pairs = question.pairs
    of_pairs = pairs.clean.sum(-1)[:, None, None] / 100  # the same for a pair at each pass
    values = of_pairs + shift + 0.01 * torch.randn(len(pairs), 3, 4, generator=generator)
    effects = Effects(values, torch.zeros(len(pairs)), None, ("layer", "head"), "z", "mean", "loss")
    return ProbeResult("ablation", "ablation", step, 0, seconds, effects=effects, pairs=pairs)


def asked_within(budget, situation, step):
    """The question as it is asked; None where it is skipped."""
    plan = budget.plan_within(situation, Moment(step))
    return None if plan is None else budget._question.reduced(plan)


def third_plan(shift):
    """What is asked after two passes, of which the second differs by a shift, with money for 8 to 31 pairs."""
    budget = budget_of(by_position=True)
    for step, trained in ((0, 0.0), (1, 1000.0)):
        asked = asked_within(budget, Situation(trained, 0.0, step), step)
        few = asked.reduced(Plan(8))
        budget.answered([answer(few, step, shift * step)])
    return asked_within(budget, Situation(2000.0, 94.5, 2), 2)


def test_while_heads_change_a_pass_is_made_of_fewer_pairs_and_else_skipped():
    changing, calm = third_plan(5.0), third_plan(0.0)
    assert changing is not None
    assert 8 <= len(changing.pairs) < 32
    assert calm is None


ASKED = {
    "mean": (Ablation, {}),
    "hooks": (Ablation, {"engine": "hooks", "layers": [1]}),
    "resample given": (Ablation, {"kind": "resample", "given": [(0, 1)]}),
    "several metrics": (Ablation, {"metric": ["loss", "kl"]}),
    "denoise": (Patching, {}),
    "noise of patterns": (Patching, {"site": "pattern", "direction": "noise"}),
}


@pytest.mark.parametrize(("kind", "options"), ASKED.values(), ids=ASKED)
def test_the_least_that_a_question_says_it_can_be_asked_for_is_taken_and_less_is_not(kind, options):
    question = kind(PAIRS, **{"metric": "loss"} | options)
    question.prepare(NETWORK)
    spare = question.spare(NETWORK)
    assert spare.levels == (64, 32, 16, 8)
    for n_pairs, least in list(zip(spare.levels, spare.least, strict=True))[-2:]:
        with torch.no_grad():
            answers = question.reduced(Plan(n_pairs, least)).measure(NETWORK.model, Moment(0), no_progress)
        assert len(answers) == spare.n_estimates
        assert all(each.effects.n == n_pairs and each.effects.n_exact.min() >= 4 for each in answers)
        with torch.no_grad(), pytest.raises(ValueError, match="the fewest that give an interval"):
            question.reduced(Plan(n_pairs, least - 0.001)).measure(NETWORK.model, Moment(0), no_progress)


def test_a_pass_that_failed_teaches_nothing():
    budget = budget_of()
    for step in (0, 1):
        asked = asked_within(budget, Situation(0.0, 0.0, step), step)
        assert (len(asked.pairs), asked.estimate.wanted) == (8, True), "still the least: nothing was timed"
        budget.answered([])


def test_what_was_skipped_is_said_with_its_steps_and_the_limit():
    budget = budget_of(0.01)
    assert budget.told_at_end is None
    asked = asked_within(budget, Situation(0.0, 0.0, 0), 0)
    budget.answered([answer(asked, 0, 0.0)])
    for step in (3, 7):
        assert asked_within(budget, Situation(float(step), 0.8, step), step) is None
    assert budget.told_at_end == (
        "the probe ablation/z/mean/loss skipped 2 passes to keep to max_overhead=0.01: after 3, 7"
    )
    assert budget.told_at_start == "the passes of ablation/z/mean/loss keep to max_overhead=0.01"


def test_a_training_clock_tells_training_from_what_holds_it_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = TrainingClock()
    assert (clock.running, clock.wall, clock.overhead) == (False, 0.0, None)
    with clock.holding_up():
        now[0] = 5.0
        clock.start()
        now[0] = 7.0
    now[0] = 27.0
    with clock.holding_up():
        now[0] = 30.0
        assert (clock.held_up, clock.trained, clock.overhead) == (5.0, 20.0, 0.25)
    clock.stop()
    now[0] = 99.0
    assert (clock.wall, clock.held_up, clock.trained) == (25.0, 5.0, 20.0)
