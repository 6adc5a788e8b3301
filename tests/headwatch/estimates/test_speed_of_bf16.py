"""Bfloat16 as a covariate: when it is taken, by a clock that the test sets, and what it gives."""

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.estimates import speed_of_bf16 as module
from headwatch.estimates.covariates import Bf16
from headwatch.estimates.head_sweep import HeadSweep
from tests.headwatch.estimates.questions import question
from tests.models import random_pairs, tiny_gpt2


@pytest.fixture(scope="module")
def model():
    return tiny_gpt2()


@pytest.fixture
def pin_speed(monkeypatch):
    """Sets how many times faster bfloat16 is taken to be."""
    return lambda speed: monkeypatch.setattr(
        "headwatch.estimates.covariates.speed_of_bf16", lambda question: speed
    )


class Work:
    """Something that takes the seconds that it is told, one after the other, on a clock that it moves."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, iter(seconds)

    def __call__(self):
        self.clock[0] += next(self.seconds)


def test_speeds_are_those_of_the_shortest_repeat_the_first_left_out():
    now = [0.0]
    one, other = Work(now, [1.0, 9.0, 8.0, 30.0]), Work(now, [0.1, 7.0, 5.0, 4.0])
    assert module.times_as_long(one, other, lambda: now[0]) == pytest.approx(2.0)


def test_both_take_turns():
    turns = []
    module.times_as_long(lambda: turns.append("one"), lambda: turns.append("other"))
    assert turns == ["one", "other"] * 4


@pytest.fixture
def clock_says_ten(monkeypatch):
    """No clock: the ratio is 10, and what it is measured on is kept."""
    asked = []

    def ratio(one, other):
        asked.append((one(), other()))
        return 10.0

    monkeypatch.setattr(module, "times_as_long", ratio)
    monkeypatch.setattr(module, "_measured", {})
    return asked


def test_a_small_model_is_never_measured(model, clock_says_ten):
    with question(model, random_pairs(4), "zero") as asked:
        assert module.speed_of_bf16(asked) == 1.0
        assert not Bf16(asked).serves()
    assert not clock_says_ten


def test_a_wide_model_is_measured_once_on_its_lowest_layer(clock_says_ten):
    wide = tiny_gpt2(n_layer=2, n_embd=512, n_head=2)
    with question(wide, random_pairs(4), "zero") as asked:
        assert [module.speed_of_bf16(asked) for _ in range(2)] == [10.0, 10.0]
        assert Bf16(asked).serves()
        assert Bf16(asked).cost() == pytest.approx(
            (asked.costs.exact.sum() * 2 + asked.costs.base) / 10, rel=1e-12
        )
    ((float32, bf16),) = clock_says_ten
    effects = hw.ablate_heads(wide, random_pairs(4)[:2], kind="zero", metric="logit_diff").per_pair
    for found, tolerance in ((float32, 1e-4), (bf16, 0.1)):
        assert np.isnan(found[:, 2:]).all()
        np.testing.assert_allclose(found[:, :2], effects[:, 0].numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("speed", "serves"), [(1.9, False), (2.0, True)])
def test_it_serves_from_twice_the_speed_on(model, pin_speed, speed, serves):
    pin_speed(speed)
    with question(model, random_pairs(4), "zero") as asked:
        assert Bf16(asked).serves() == serves


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"engine": "hooks"}])
def test_it_serves_only_where_the_engine_answers_in_wider_numbers(model, pin_speed, options):
    pin_speed(10.0)
    with question(model, random_pairs(4), "zero", **options) as asked:
        assert not Bf16(asked).serves()


def test_a_model_in_bf16_has_no_use_for_it(pin_speed):
    pin_speed(10.0)
    with question(tiny_gpt2().bfloat16(), random_pairs(4), "zero") as asked:
        assert not Bf16(asked).serves()


@pytest.mark.parametrize("kind", ["zero", "denoise"])
def test_it_is_the_sweep_in_bf16(model, pin_speed, kind):
    pin_speed(10.0)
    pairs = random_pairs(24)
    ask = hw.patch_activations if kind == "denoise" else hw.ablate_heads
    how = {"direction": kind} if kind == "denoise" else {"kind": kind}
    rounded = ask(model, pairs, metric="logit_diff", precision="bf16", **how)
    exact = ask(model, pairs, metric="logit_diff", **how)
    found = hw.estimate_heads(model, pairs, kind=kind, metric="logit_diff", target_stderr="exact")
    assert found.covariate_names == ("bf16",)
    torch.testing.assert_close(found.covariate, rounded.per_pair, rtol=0, atol=1e-6)
    assert found.n_exact.float().mean() < 6
    assert found.cost < 0.45
    run = ~found.exact_values.isnan()
    torch.testing.assert_close(found.exact_values[run], exact.per_pair[run], rtol=0, atol=2e-5)


def test_few_exact_runs_correct_what_bf16_is_off_by_everywhere(model, pin_speed, monkeypatch):
    pin_speed(10.0)
    pairs, in_bf16 = random_pairs(24), HeadSweep.in_bf16
    monkeypatch.setattr(HeadSweep, "in_bf16", lambda *asked: in_bf16(*asked) + 0.5)
    found = hw.estimate_heads(model, pairs, kind="zero", metric="logit_diff", target_stderr="exact")
    exact = hw.ablate_heads(model, pairs, kind="zero", metric="logit_diff")
    assert found.covariate_names == ("bf16",)
    assert (found.mean - exact.mean).abs().max() < 0.05
    assert (found.covariate.mean(0) - exact.mean).abs().min() > 0.4


def test_what_it_costs_on_all_pairs_is_counted(model, pin_speed):
    pin_speed(10.0)
    pairs = random_pairs(24)
    with question(model, pairs, "zero") as asked:
        costs, bf16 = asked.costs, Bf16(asked).cost()
    found = hw.estimate_heads(model, pairs, kind="zero", metric="logit_diff", target_stderr="exact")
    assert found.covariate_names == ("bf16",)
    n_exact = found.n_exact.numpy()
    whole = 24 * (4 * costs.exact.sum() + costs.base)
    runs = (n_exact * costs.exact[:, None]).sum() + n_exact.max() * costs.base
    assert found.cost == pytest.approx((runs + 24 * bf16) / whole)
