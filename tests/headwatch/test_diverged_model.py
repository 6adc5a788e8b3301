"""A model with weights that are no numbers: what is measured of it is NaN where the truth is, and nowhere 0."""

import csv
import warnings

import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.model.attention import attention_pattern
from headwatch.page.payload import maps_payload
from headwatch.pictures import attention_maps, heat_map
from headwatch.pictures.cell_map import NO_NUMBER, score_map
from headwatch.pictures.colours import MISSING, rgb
from headwatch.pictures.svg_map import svg_map
from headwatch.record import Record, RecordWriter
from headwatch.record.export import export
from headwatch.record.reader import read_packed
from headwatch.scores.attention_patterns import attention_patterns
from headwatch.scores.in_context_learning import in_context_learning_score
from headwatch_callbacks.trackers.pictures import head_map, mosaic
from tests.models import random_ids, random_pairs, tiny_gpt2

IDS = random_ids(2, 8)
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
CAUSAL = torch.ones(8, 8, dtype=torch.bool).tril()
TOKENS = [list("abcdefgh"), list("abcde")]


@pytest.fixture(params=[float("nan"), float("inf")], ids=str)
def diverged(request):
    """The queries of one head, layer 1's first, are no numbers; the layers above see what it writes."""
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 0] = request.param
    return model


@pytest.fixture
def without_logits():
    """The last norm, and so every logit, is no number."""
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight[3] = float("nan")
    return model


def test_maps_are_nan_where_the_softmax_is_and_0_where_nothing_may_be_seen(diverged):
    found = attention_patterns(diverged, IDS, MASK)
    whole = attention_patterns(tiny_gpt2(), IDS, MASK)
    torch.testing.assert_close(found[:, 0], whole[:, 0])
    torch.testing.assert_close(found[:, 1, 1:], whole[:, 1, 1:])
    seen = CAUSAL & MASK.bool()[:, :, None]
    assert torch.equal(found[:, 1, 0].isnan(), seen)
    assert (found[:, 2, :, 0, 0].isnan() | (found[:, 2, :, 0, 0] == 1)).all()  # never 0
    assert (found[~seen[:, None, None].expand_as(found)] == 0).all()


def test_a_query_that_may_look_nowhere_still_gets_zeros():
    scores = torch.tensor([[[[-torch.inf, -torch.inf], [0.0, 0.0]]]])
    assert attention_pattern(scores).tolist() == [[[[0, 0], [0.5, 0.5]]]]
    allowed = torch.tensor([[[[True, False], [True, True]]]])
    assert attention_pattern(scores, allowed).isnan().tolist() == [[[[True, False], [False, False]]]]


def test_scores_are_nan(diverged):
    scores = hw.head_scores(diverged, IDS, MASK)
    for name, score in scores.as_dict().items():
        assert score[1, 0].isnan(), name
        assert not score[0].isnan().any(), name
        assert not score[1, 1:].isnan().any(), name
    assert "induction NaN" in repr(scores)


def test_effects_and_scores_of_logits_are_nan(without_logits, capfd):
    pairs = random_pairs(n=4)
    for metric in ("loss", "logit_diff", "kl", "prob"):
        effects = hw.ablate_heads(without_logits, pairs, kind="zero", metric=metric)
        assert effects.mean.isnan().all(), metric
    assert hw.patch_activations(without_logits, pairs).mean.isnan().all()
    assert in_context_learning_score(without_logits, IDS, early=3, late=8).isnan().all()
    assert hw.copying_scores(without_logits).isnan().all()
    assert "error" not in capfd.readouterr().err.lower()


def test_a_head_whose_map_is_finite_keeps_its_copying_score():
    model = tiny_gpt2()
    wanted = hw.copying_scores(model)
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight[0, 0] = torch.inf
    found = hw.copying_scores(model)
    assert found[1, 0].isnan()
    found[1, 0] = wanted[1, 0]
    torch.testing.assert_close(found, wanted)


@pytest.fixture
def run(tmp_path, without_logits):
    scores = {"induction": torch.tensor([[0.0, torch.nan], [0.5, 1.0]])}
    maps = attention_patterns(tiny_gpt2(), IDS, MASK)
    maps[0, 1, 2, 4] = torch.nan
    with RecordWriter(tmp_path / "run", name="r", model={"n_layers": 3, "n_heads": 4}) as writer:
        effects = hw.ablate_heads(without_logits, random_pairs(n=4), metric="loss")
        writer.effects(3, 0, "ablation", "a", effects, 0.0)
        writer.scores(3, 0, "s", scores, 0.0)
        writer.patterns(3, 0, "maps", maps, TOKENS)
    return tmp_path / "run"


def test_the_record_the_page_and_the_export_have_it_as_such(run, tmp_path):
    record = Record.read(run)
    assert np.isnan(record.effects[0].mean).all()
    assert np.isnan(record.effects[0].baseline)
    frame = record.patterns(3)
    missing = np.zeros((3, 4, 8, 8), bool)
    missing[1, 2, 4, :5] = True
    np.testing.assert_array_equal(np.isnan(frame.maps[0]), missing)
    assert not np.isnan(frame.maps[1]).any()
    assert maps_payload(record, record.frames[0])["heads"] == (3, 4)
    with export(run, tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["value"] for row in rows if row["series"] == "a"] == ["nan"] * 12
    assert [row["value"] for row in rows if row["series"] == "s"] == ["0.0", "nan", "0.5", "1.0"]


GREY = np.array(rgb(MISSING), np.uint8)


def test_trackers_pictures_show_it():
    values = np.array([[0.0, np.nan], [0.5, 1.0]])
    plain, shown = (np.asarray(head_map(score_map(v), title="t")) for v in (np.nan_to_num(values), values))
    assert (plain != GREY).any(-1).all()
    assert (shown == GREY).all(-1).sum() > 1000
    inside = (shown == GREY).all(-1)
    rows, columns = np.nonzero(inside)
    cell = shown[rows.min() : rows.max(), columns.min() : columns.max()]
    assert (cell != GREY).any(-1).sum() > 20  # the cross
    maps = np.tile(np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None], (1, 2, 1, 1))
    maps[0, 1, 2, :3] = np.nan
    assert (np.asarray(mosaic(maps, title="t")) == GREY).all(-1).sum() > 100


def test_notebooks_and_plots_show_it():
    shown = score_map(np.array([[0.0, np.nan], [0.5, 1.0]]), "induction")
    text = svg_map(shown, title="t", unit="u")
    assert text.count("<line ") == 2
    assert NO_NUMBER in text
    assert "L0H1 NaN" in text
    axes = heat_map.draw(shown, title="t", unit="u")
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 0]]]
    assert NO_NUMBER in axes.get_xlabel()
    maps = np.eye(3)[None, None].copy()
    maps[..., 1, :2] = np.nan
    figure = attention_maps.draw(maps, list("abc"), [["L0H0"]])
    [_, overlay] = figure.axes[0].images
    assert (~np.ma.getmaskarray(overlay.get_array())).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert "no number" in figure.get_supxlabel()


def test_what_the_page_is_given_tells_rows_without_numbers_apart(run):
    record = Record.read(run)
    packed = read_packed(record.directory, record.frames[0], record.model)[0][1, 2]
    assert packed[10:15].tolist() == [255] * 5
    assert packed[0] == 255


def test_a_weight_that_is_no_number_is_the_diagnosis_and_no_reason_to_be_slow():
    """By SDPA's kernels a NaN can get lost that the engine's keep."""
    model = tiny_gpt2()
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 0] = torch.nan
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        effects = hw.patch_activations(model, random_pairs(n=4))
    sentences = [str(one.message) for one in told]
    assert not any("one forward per intervention" in said for said in sentences)
    assert all("weights are not: transformer.h.1.attn.c_attn.weight" in said for said in sentences)
    assert effects.n == 4
