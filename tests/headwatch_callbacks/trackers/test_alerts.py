"""A pass is worth an alert where a head changed since the one before by more than noise, and says what chance does."""

import numpy as np
import torch

from headwatch_callbacks.questions.result import ProbeResult
from headwatch_callbacks.trackers.alerts import ChangeAlerts
from tests.headwatch.record.test_events import trajectories
from tests.headwatch_callbacks.trackers.passes import effects, patterns
from tests.models import random_pairs


def passes(label="a", pairs=None, **options):
    """Ten passes over 36 heads, of which L2H5 jumps by 0.5 between steps 300 and 400."""
    pairs = random_pairs(64) if pairs is None else pairs
    for number, values in enumerate(trajectories(**options)):
        found = effects(torch.tensor(values, dtype=torch.float32))
        yield ProbeResult("ablation", label, 100 * number, 0, effects=found, pairs=pairs)


def test_the_jump_is_alerted_once_with_its_size():
    alerts = ChangeAlerts()
    found = {result.step: alerts.alert(result) for result in passes(seed=1)}
    alert = found.pop(400)
    assert alert.title == "a: 1 head changed at step 400"
    values = trajectories(seed=1)
    change = (values[4, :, 2, 5] - values[3, :, 2, 5]).mean()
    assert alert.text.startswith(f"Since step 300, by more than noise: L2H5 {change:+.3g} ± 0.01")
    # Four comparisons of 36 heads so far, q / (1 − q)² each.
    assert (
        "If nothing had changed, chance would have marked 0.22 in the 4 comparisons of this series"
        in alert.text
    )
    # As many false alarms as nine comparisons may give.
    assert sum(one is not None for one in found.values()) <= 1


def test_series_are_compared_each_with_itself():
    alerts = ChangeAlerts()
    for first, second in zip(passes("a", jump=0), passes("b", jump=0), strict=True):
        both = (alerts.alert(first), alerts.alert(second))
        assert (both[0] is None) == (both[1] is None)
    moved = next(passes("c"))
    assert alerts.alert(moved) is None


def test_many_heads_are_named_in_short():
    pairs = random_pairs(4)
    before = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))
    alerts = ChangeAlerts()
    for step, values in ((0, before), (1, before + torch.arange(1.0, 13.0).reshape(3, 4))):
        alert = alerts.alert(ProbeResult("ablation", "a", step, 0, effects=effects(values), pairs=pairs))
    assert alert.title == "a: 12 heads changed at step 1"
    assert "L2H3 +12 ± " in alert.text
    assert "and 7 more." in alert.text


def test_passes_without_effects_pairs_or_a_change_are_worth_none():
    alerts = ChangeAlerts()
    values = torch.ones(2, 1, 2)
    without = ProbeResult("ablation", "a", 0, 0, effects=effects(values))
    assert [alerts.alert(one) for one in (patterns(0), without, without)] == [None] * 3
    known = ProbeResult("ablation", "a", 0, 0, effects=effects(values), pairs=random_pairs(2))
    assert [alerts.alert(known), alerts.alert(known)] == [None, None]


def test_a_sweep_of_more_values_than_a_record_keeps_is_left_out():
    values = torch.zeros(64, 12, 12, 110)
    found = effects(values, ("layer", "head", "position"))
    alerts = ChangeAlerts()
    for step in (0, 1):
        assert alerts.alert(ProbeResult("p", "p", step, 0, effects=found, pairs=random_pairs(64))) is None
    assert alerts._compared == {}


def test_other_pairs_are_not_compared():
    alerts = ChangeAlerts()
    before = next(passes())
    after = next(passes(pairs=random_pairs(64, seed=1), seed=3))
    assert [alerts.alert(one) for one in (before, after)] == [None, None]
    assert alerts._compared == {}


def test_chance_alerts_about_one_pass_in_twenty():
    alerts, sent = ChangeAlerts(), 0
    random, pairs = np.random.default_rng(0), random_pairs(16)
    for step in range(200):
        values = torch.tensor(random.normal(size=(16, 3, 4)), dtype=torch.float32)
        sent += (
            alerts.alert(ProbeResult("ablation", "a", step, 0, effects=effects(values), pairs=pairs))
            is not None
        )
    # 10 of 199 expected; neighbouring comparisons share a pass.
    assert 2 <= sent <= 20
