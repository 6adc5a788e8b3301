"""What every tracker that takes pictures does, seen from one that only remembers what it was to send."""

from headwatch_callbacks.trackers import Trackers
from headwatch_callbacks.trackers.picture_tracker import PictureTracker, all_rows
from tests.headwatch_callbacks.trackers.passes import ablation, patterns

MAP = "headwatch/ablation/z/mean/loss/map"
MOSAIC = "headwatch/patterns/attention"


class Remembering(PictureTracker):
    def __init__(self, settings=None):
        super().__init__(None, settings or Trackers())
        self.passes, self.late, self.ends = [], [], []

    def _send_pass(self, result, values, pictures):
        self.passes.append((result.step, values, set(pictures)))

    def _send_pictures(self, pictures, step):
        self.late.append((step, set(pictures)))

    def _send_end(self, results, report):
        self.ends.append(([(each.label, each.step) for each in results], report))


def test_a_pass_is_sent_with_its_numbers_and_the_pictures_that_are_due():
    tracker = Remembering(Trackers(mosaic_every=2))
    for step in (0, 10):
        tracker.write(ablation(step))
        tracker.write(patterns(step))
    drawn = [(step, pictures & {MAP, MOSAIC}) for step, _, pictures in tracker.passes]
    assert drawn == [(0, {MAP}), (0, {MOSAIC}), (10, {MAP}), (10, set())]
    assert tracker.passes[0][1]["headwatch/ablation/z/mean/loss/clean"] == 2.5


def test_per_head_numbers_only_by_choice():
    for asked, heads in ((None, 0), (False, 0), (True, 6)):
        tracker = Remembering(Trackers(per_head=asked))
        tracker.write(ablation())
        [(_, values, _)] = tracker.passes
        assert sum(name.startswith("heads/") for name in values) == heads


def test_the_end_brings_what_was_skipped_and_the_latest_pass_of_each_label():
    tracker = Remembering(Trackers(mosaic_every=2))
    for step in (0, 10):
        tracker.write(ablation(step))
        tracker.write(patterns(step))
    tracker.finish("report.html")
    assert tracker.late == [(10, {MOSAIC})]
    assert tracker.ends == [([("ablation/z/mean/loss", 10), ("patterns", 10)], "report.html")]


def test_a_second_end_brings_nothing_twice_until_there_is_a_new_pass():
    tracker = Remembering(Trackers(mosaic_every=2))
    for step in (0, 10):
        tracker.write(patterns(step))
    tracker.finish()
    tracker.finish()
    assert tracker.late == [(10, {MOSAIC})]
    assert tracker.ends[1] == ([], None)
    tracker.write(ablation(20))
    tracker.finish()
    assert tracker.ends[2] == ([("patterns", 10), ("ablation/z/mean/loss", 20)], None)


def test_the_table_has_the_rows_of_each_pass_in_turn():
    rows = all_rows([ablation(), patterns()])
    assert [row[0] for row in rows] == ["ablation/z/mean/loss"] * 6 + ["patterns/induction"] * 6
    assert [row[1] for row in rows] == [1, 2, 3, 4, 5, 6] * 2
