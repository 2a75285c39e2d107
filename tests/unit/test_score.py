from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.evaluate.matrix_picture import matrix_picture
from incontext_lora.incontext.evaluate.scores import (
    NOT_MEASURED,
    CaptionScore,
    SetScore,
    caption_scores,
    embedding_similarity,
    panel_means,
    report,
    statistics_similarity,
    summary,
)
from torch import Tensor

sides = st.integers(1, 40)


def plain(red: float, green: float, blue: float, height: int = 48, width: int = 48) -> Tensor:
    return torch.tensor((red, green, blue)).expand(1, height, width, 3)


def stripes(horizontal: bool, period: int = 8) -> Tensor:
    wave = ((torch.arange(96) // period) % 2).float()
    picture = wave[:, None].expand(96, 96) if horizontal else wave[None].expand(96, 96)
    return picture[None, ..., None].expand(1, 96, 96, 3)


@given(st.integers(0, 10_000), st.integers(1, 3), st.lists(st.tuples(sides, sides), min_size=2, max_size=4))
def test_statistics_are_symmetric_within_bounds_and_one_for_the_same(
    seed: int, batch: int, sizes: list[tuple[int, int]]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    panels = [torch.rand((batch, height, width, 3), generator=generator) for height, width in sizes]
    matrix = statistics_similarity([*panels, panels[0]])
    assert matrix.shape == (batch, len(sizes) + 1, len(sizes) + 1)
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))
    assert bool(((matrix >= 0) & (matrix <= 1)).all())
    torch.testing.assert_close(matrix[:, 0, -1], torch.ones(batch), atol=1e-5, rtol=0)
    torch.testing.assert_close(matrix.diagonal(dim1=1, dim2=2), torch.ones(batch, len(sizes) + 1), atol=1e-5, rtol=0)


def pair(first: Tensor, second: Tensor) -> float:
    return float(statistics_similarity([first, second])[0, 0, 1])


def test_statistics_see_colours() -> None:
    red, orange, blue = plain(0.8, 0.1, 0.1), plain(0.8, 0.2, 0.1), plain(0.1, 0.1, 0.8)
    assert pair(red, orange) > pair(red, blue)
    assert pair(red, blue) == pytest.approx(0.5)  # both are without edges, which is half of the measure
    assert pair(red, plain(0.81, 0.1, 0.1)) > 0.95  # no jump between the levels of a histogram


def test_statistics_see_edges() -> None:
    assert pair(stripes(True), stripes(False)) < 0.6 < pair(stripes(True), stripes(True).roll(3, dims=1))
    assert pair(stripes(True), plain(0.5, 0.5, 0.5)) < 0.3


def test_size_of_a_panel_counts_for_little() -> None:
    small = plain(0.2, 0.6, 0.4, 20, 30)
    assert pair(small, plain(0.2, 0.6, 0.4, 400, 600)) == pytest.approx(1, abs=1e-4)


def test_grey_and_transparent_panels_are_taken() -> None:
    grey = torch.full((1, 16, 16, 1), 0.5)
    assert pair(grey, torch.full((1, 16, 16, 4), 0.5)) == pytest.approx(1, abs=1e-5)


def test_embeddings_are_compared_by_their_direction() -> None:
    matrix = embedding_similarity([torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, -2.0]])])
    torch.testing.assert_close(matrix, torch.tensor([[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]))


def test_summary_takes_pairs_of_different_panels() -> None:
    matrix = torch.tensor([[1.0, 0.9, 0.2], [0.9, 1.0, 0.7], [0.2, 0.7, 1.0]])
    score = summary(matrix)
    assert (score.mean, score.lowest, score.pair) == (pytest.approx(0.6), pytest.approx(0.2), (0, 2))


def test_one_panel_has_no_pair() -> None:
    with pytest.raises(LayoutError, match="one panel"):
        summary(torch.ones(1, 1))


def test_caption_scores_leave_panels_without_text_out() -> None:
    right, up, down = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0])
    images = [torch.stack([right, right]), torch.stack([up, down]), torch.stack([up, up])]
    first, second = caption_scores(images, [right * 3, None, up])
    assert first.panels == (pytest.approx(1), None, pytest.approx(1))
    assert (first.mean, first.own_text_first, second.mean) == (pytest.approx(1), 1.0, pytest.approx(1))
    swapped = caption_scores(images, [up, None, right])[0]
    assert (swapped.mean, swapped.own_text_first) == (pytest.approx(0), 0.0)
    assert caption_scores(images, [None, None, None])[0].mean == NOT_MEASURED
    assert panel_means([first, second]) == [pytest.approx(1), None, pytest.approx(1)]
    assert panel_means([]) == []


def test_report_has_a_line_a_set() -> None:
    sets = [SetScore(0.5, 0.25, (0, 1)), SetScore(0.75, 0.5, (1, 2))]
    text = report(["A", "B", "C"], sets, "how", [CaptionScore((0.3, None, 0.1), 0.5)] * 2, "remark")
    assert text.splitlines() == [
        "Measure: how.",
        "Set 1: 0.500 alike; least A and B, 0.250; caption 0.200 (A 0.300, C 0.100), own text first in 50%.",
        "Set 2: 0.750 alike; least B and C, 0.500; caption 0.200 (A 0.300, C 0.100), own text first in 50%.",
        "2 sets: mean 0.625, from 0.500 to 0.750.",
        "remark",
    ]


def test_picture_shows_similarity_as_darkness() -> None:
    matrix = torch.tensor([[1.0, 0.95, 0.05], [0.95, 1.0, 0.5], [0.05, 0.5, 1.0]])
    picture = matrix_picture(matrix, ["A", "B", "C"], "title")
    assert picture.shape[0] == 1
    assert picture.shape[-1] == 3
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1

    # a cell is 96 px; the table ends 16 px before the right and lower edge; look above the number in the cell
    def shade(row: int, column: int) -> float:
        y, x = picture.shape[1] - 16 - 96 * (3 - row) + 10, picture.shape[2] - 16 - 96 * (3 - column) + 48
        return float(picture[0, y, x].mean())

    assert shade(0, 1) < shade(1, 2) < shade(0, 2)
    assert shade(0, 1) == shade(1, 0)


def test_picture_makes_room_for_captions_and_long_names() -> None:
    names = ["A", "a name that is much longer than a cell is wide, and then some"]
    bare = matrix_picture(torch.eye(2), names, "t")
    with_captions = matrix_picture(torch.eye(2), names, "t", [0.3, None])
    assert with_captions.shape[2] > bare.shape[2]
    assert bare.shape[2] < 2 * 96 + 260


def test_names_in_other_scripts_are_numbered_in_the_picture() -> None:
    chinese = matrix_picture(torch.eye(2), ["上", "下"], "t")
    torch.testing.assert_close(chinese, matrix_picture(torch.eye(2), ["panel 1", "panel 2"], "t"))
