import math

import numpy as np
import pytest
import torch

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.importance import (
    TABLE_COLUMNS,
    effective_heads,
    entropy,
    head_maps,
    measures_importance,
    table_rows,
)
from tests.headwatch_callbacks.trackers.passes import ablation, effects, patterns


def test_equal_importance_counts_every_head_whatever_its_sign():
    values = np.array([[1.0, -1.0], [1.0, -1.0]])
    assert entropy(values) == pytest.approx(math.log(4))
    assert effective_heads(values) == pytest.approx(4)


def test_one_head_alone_counts_as_one():
    assert effective_heads(np.array([0.0, 3.0, 0.0])) == pytest.approx(1)


def test_no_effect_at_all_counts_as_none_and_nan_is_left_out():
    assert effective_heads(np.zeros(4)) == 0.0
    assert math.isnan(effective_heads(np.array([np.nan, np.nan])))
    assert math.isnan(entropy(np.array([np.nan, np.inf])))
    assert effective_heads(np.array([np.nan, 2.0])) == pytest.approx(1)


def test_entropy_follows_the_shares():
    assert entropy(np.array([3.0, 1.0])) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_units_are_named_by_their_axes():
    [found] = head_maps(ablation())
    assert found.cell_name(1, 0) == "L1H0"
    assert found.ranked()[:2] == [(1, 0), (0, 1)]


def test_an_effect_by_position_is_shown_at_each_heads_strongest_position():
    per_pair = torch.zeros(2, 1, 2, 3)
    per_pair[:, 0, 0, 2], per_pair[:, 0, 0, 1], per_pair[:, 0, 1, 0] = -5.0, 4.0, 1.0
    found = effects(per_pair, dims=("layer", "head", "position"))
    [shown] = head_maps(ProbeResult("patching", "patching/z", 1, 0, 0.1, effects=found))
    assert shown.values.tolist() == [[-5.0, 1.0]]
    assert shown.note == "each head at its strongest position"


def test_layers_alone_become_one_column():
    found = effects(torch.ones(2, 3), dims=("layer",))
    [shown] = head_maps(ProbeResult("patching", "patching/mlp_out", 1, 0, 0.1, effects=found))
    assert shown.values.shape == (3, 1)
    assert shown.cell_name(2, 0) == "L2"


def test_thousands_of_neurons_are_left_to_the_record():
    found = effects(torch.ones(2, 1, 3072), dims=("layer", "neuron"))
    assert head_maps(ProbeResult("patching", "patching/post", 1, 0, 0.1, effects=found)) == []


def test_the_table_gives_each_head_with_its_interval_strongest_first():
    rows = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in table_rows(ablation())]
    assert [row["unit"] for row in rows[:3]] == ["L1H0", "L0H1", "L1H2"]
    first = rows[0]
    assert (first["label"], first["rank"], first["row"], first["column"], first["n"]) == (
        "ablation/z/mean/loss",
        1,
        1,
        0,
        3,
    )
    assert first["value"] == pytest.approx(-3.0)
    assert first["stderr"] == pytest.approx(0.1, rel=1e-4)
    # Three pairs: two degrees of freedom, 4.303 standard errors.
    assert (first["low"], first["high"]) == (pytest.approx(-3.430, abs=1e-3), pytest.approx(-2.570, abs=1e-3))
    assert [row["significant"] for row in rows] == [True, True, False, False, False, False]


def test_chosen_layers_and_neurons_keep_their_numbers():
    chosen = {"layer": (4, 9), "neuron": (200, 201)}
    found = effects(torch.tensor([[[0.0, 1.0], [3.0, 0.0]]]), dims=("layer", "neuron"), coords=chosen)
    rows = table_rows(ProbeResult("ablation", "a", 1, 0, 0.1, effects=found))
    rows = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in rows]
    assert [(row["unit"], row["row"], row["column"]) for row in rows[:2]] == [
        ("L9N200", 9, 200),
        ("L4N201", 4, 201),
    ]


def test_a_set_is_named_in_the_table_by_its_heads():
    found = effects(torch.ones(2, 1), dims=("set",), coords={"set": (((9, 6), (10, 0)),)})
    row = dict(
        zip(TABLE_COLUMNS, next(table_rows(ProbeResult("sets", "s", 1, 0, 0.1, effects=found))), strict=True)
    )
    assert (row["unit"], row["row"], row["column"]) == ("L9H6+L10H0", "L9H6+L10H0", 0)


def test_what_chance_alone_does_is_not_significant_in_the_table():
    noise = torch.randn(16, 12, 12, generator=torch.Generator().manual_seed(2))
    rows = table_rows(ProbeResult("ablation", "a", 1, 0, 0.1, effects=effects(noise)))
    rows = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in rows]
    assert sum(row["low"] > 0 or row["high"] < 0 for row in rows) >= 3
    assert not any(row["significant"] for row in rows)


def test_scores_have_no_error_bars_in_the_table():
    rows = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in table_rows(patterns())]
    assert rows[0]["label"] == "patterns/induction"
    assert rows[0]["unit"] == "L1H2"
    assert rows[0]["stderr"] is None
    assert rows[0]["significant"] is None


def test_one_pair_has_no_interval():
    single = ProbeResult("ablation", "a", 1, 0, 0.1, effects=effects(torch.ones(1, 1, 2)))
    row = dict(zip(TABLE_COLUMNS, next(table_rows(single)), strict=True))
    assert row["stderr"] is None
    assert row["low"] is None


def test_attention_scores_do_not_measure_importance_and_gradients_do():
    assert measures_importance(ablation())
    assert not measures_importance(patterns())
    assert measures_importance(
        ProbeResult("gradients", "gradients", 1, 0, 0.1, scores={"importance": torch.ones(1, 1)})
    )
