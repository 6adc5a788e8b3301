"""Costs by arithmetic: shares of the exact sweep that add up, and runs that weigh what the layers above them do."""

import pytest
import torch

from benchmarks.bound import sweep_work
from benchmarks.estimates.cost import GPT2_SMALL, cost, own_shape
from benchmarks.jobs import Job


@pytest.mark.parametrize("first_change", [0, 9])
def test_all_pairs_run_exactly_cost_one_sweep(first_change):
    assert cost(GPT2_SMALL, torch.ones(8, 8), first_change).exact == pytest.approx(1)


def test_exact_runs_of_a_layer_cost_what_the_count_of_least_arithmetic_says():
    alone = torch.zeros(4, 4)
    alone[1] = 0.5
    shape = own_shape(alone)
    job = Job("", "z", "zero", shape.length)
    every = job.interventions(4, 4)
    plain = sweep_work(job, shape, 1, []).flops
    of_layer = sweep_work(job, shape, 1, [item for item in every if item.layer == 1]).flops - plain
    whole = sweep_work(job, shape, 1, every).flops - plain
    assert cost(shape, alone).exact == pytest.approx(0.5 * of_layer / whole)


def test_covariates_cost_two_forwards_and_the_heads_at_one_position():
    found = cost(GPT2_SMALL, torch.zeros(12, 12))
    job = Job("", "z", "zero", GPT2_SMALL.length)
    plain = sweep_work(job, GPT2_SMALL, 1, []).flops
    heads = sweep_work(job, GPT2_SMALL, 1, job.interventions(12, 12)).flops - plain
    assert found.attribution == pytest.approx(2 * plain / heads)
    last = [item._replace(position=GPT2_SMALL.length - 1) for item in job.interventions(12, 12)]
    at_answer = sweep_work(job, GPT2_SMALL, 1, last).flops - plain
    assert found.last == pytest.approx(at_answer / heads)
    assert found.whole == pytest.approx(found.attribution + found.last)


def test_layers_of_a_small_model_stand_for_those_of_the_same_height():
    low, high = torch.zeros(4, 2), torch.zeros(4, 2)
    low[0], high[-1] = 1, 1
    spread = torch.zeros(12, 12)
    spread[:3] = 1
    assert cost(GPT2_SMALL, low).exact == pytest.approx(cost(GPT2_SMALL, spread).exact)
    assert cost(GPT2_SMALL, low).exact > 5 * cost(GPT2_SMALL, high).exact
