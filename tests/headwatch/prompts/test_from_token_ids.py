import pytest
import torch

from headwatch.prompts.from_token_ids import from_rows

CLEAN = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
CORRUPTED = torch.tensor([[1, 9, 3, 4], [5, 6, 9, 8]])
ANSWER, FOIL = torch.tensor([1, 2]), torch.tensor([3, 4])


def positions(position: int | torch.Tensor | None, lengths: torch.Tensor | None = None) -> list[int]:
    return [row.position for row in from_rows(CLEAN, CORRUPTED, ANSWER, FOIL, position, lengths)]


def test_rows_keep_their_real_tokens_only() -> None:
    padded = torch.tensor([[1, 2, -100, -100], [5, 6, 7, 8]])
    rows = from_rows(padded, CORRUPTED, ANSWER, FOIL, None, torch.tensor([2, 4]))
    assert [row.clean for row in rows] == [(1, 2), (5, 6, 7, 8)]
    assert [row.corrupted for row in rows] == [(1, 9), (5, 6, 9, 8)]
    assert [(row.answers, row.foils) for row in rows] == [((1,), (3,)), ((2,), (4,))]


def test_positions_default_to_the_last_real_token_and_count_from_it() -> None:
    lengths = torch.tensor([2, 4])
    assert positions(None) == [3, 3]
    assert positions(None, lengths) == [1, 3]
    assert positions(-1, lengths) == [1, 3]
    assert positions(-2, lengths) == [0, 2]
    assert positions(1, lengths) == [1, 1]
    assert positions(torch.tensor(2)) == [2, 2]
    assert positions(torch.tensor([0, -1]), lengths) == [0, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clean_ids": CLEAN[0]}, r"clean_ids has shape \(4,\); it must be \[pair, position\]"),
        ({"clean_ids": CLEAN[:0]}, r"clean_ids has shape \(0, 4\); .* with no axis empty"),
        ({"clean_ids": CLEAN.float()}, "clean_ids must be whole numbers .*, not torch.float32"),
        (
            {"corrupted_ids": CLEAN[:, :3]},
            r"corrupted_ids has shape \(2, 3\); beside clean_ids it must be \(2, 4\)",
        ),
        ({"corrupted_ids": CLEAN > 3}, "corrupted_ids must be whole numbers .*, not torch.bool"),
        ({"answer": torch.tensor([1])}, r"answer has shape \(1,\); beside clean_ids it must be \(2,\)"),
        ({"foil": FOIL[:, None]}, r"foil has shape \(2, 1\)"),
        ({"lengths": torch.tensor([0, 4])}, r"lengths must be from 1 to the 4 tokens of a row, not \[0, 4\]"),
        ({"lengths": torch.tensor([5, 4])}, "lengths must be from 1 to the 4 tokens"),
        ({"lengths": torch.tensor([4.0, 4.0])}, "lengths must be whole numbers"),
        ({"position": 4}, "position 4 is outside the 4 tokens of pair 0"),
        ({"position": 2, "lengths": torch.tensor([4, 2])}, "position 2 is outside the 2 tokens of pair 1"),
        ({"position": torch.tensor([0, -5])}, "position -5 is outside the 4 tokens of pair 1"),
        ({"position": torch.tensor([0])}, r"position has shape \(1,\); beside clean_ids it must be \(2,\)"),
        ({"position": torch.tensor([0.5, 1.0])}, "position must be whole numbers"),
        ({"position": torch.tensor(0.5)}, "position must be whole numbers"),
        (
            {"clean_ids": torch.tensor([[1, 2, 3, 4], [5, 6, -1, -1]])},
            "pair 1 has a negative token id: give lengths",
        ),
        ({"foil": torch.tensor([3, -1])}, "pair 1 has a negative token id"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, torch.Tensor], message: str) -> None:
    arguments = {
        "clean_ids": CLEAN, "corrupted_ids": CORRUPTED, "answer": ANSWER, "foil": FOIL, "position": None,
        "lengths": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        from_rows(**{**arguments, **changed})
