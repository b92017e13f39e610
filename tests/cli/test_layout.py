import pytest
from rich.console import Console

from proxy.cli.layout import GAP, at_separators, cell, fit, grid, longest_words, needed, pairs


def lines(renderable: object, width: int = 100) -> list[str]:
    console = Console(width=width, markup=False, emoji=False, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get().splitlines()


def test_columns_that_fit_stay_as_they_are() -> None:
    assert fit([5, 10, 20], [5, 5, 5], 35) == [5, 10, 20]


def test_what_is_missing_is_taken_where_most_is_to_spare() -> None:
    assert fit([5, 10, 20], [5, 10, 5], 25) == [5, 10, 10]


def test_floors_are_the_last_to_go_and_nothing_becomes_narrower_than_readable() -> None:
    assert fit([20, 20], [10, 10], 20) == [10, 10]
    assert fit([20, 20], [10, 10], 16) == [10, 6]
    assert fit([20, 20], [10, 10], 12) == [8, 4]
    assert fit([20, 20], [10, 10], 2) == [4, 4]


def test_a_column_is_as_wide_as_its_longest_line() -> None:
    assert needed(["a", "heading"], [[cell("one\nlonger"), cell("x")]]) == [6, 7]


def test_a_column_folded_between_words_is_as_wide_as_the_longest_one() -> None:
    assert longest_words(["a", "heading"], [[cell("two words\nlonger"), cell("x")]]) == [6, 7]


@pytest.mark.parametrize(
    ("name", "room", "pieces"),
    [
        ("short", 10, ["short"]),
        ("exact", 5, ["exact"]),
        ("abc/def-ghi", 8, ["abc/def-", "ghi"]),
        ("abc/def-ghi", 7, ["abc/", "def-ghi"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
    ],
)
def test_long_names_are_taken_apart_after_separators(name: str, room: int, pieces: list[str]) -> None:
    assert at_separators(name, room) == pieces


@pytest.mark.parametrize("width", [24, 40, 80, 100])
def test_a_grid_is_never_wider_than_the_screen_and_loses_nothing(width: int) -> None:
    words = ["some-unbreakable-name-of-a-rule", "short", "a sentence that has to be folded somewhere"]
    drawn = lines(grid(["a", "b", "c"], [[cell(w) for w in words]], width, [20, 20, 20]), width)

    assert max(map(len, drawn)) <= width
    seen = "".join("".join(line.split()) for line in drawn)
    assert sorted(c for c in seen if c != "─") == sorted("abc" + "".join(words).replace(" ", ""))


def test_words_are_kept_whole_while_there_is_room() -> None:
    drawn = lines(grid(["a", "b"], [[cell("rule coding-stays-cool"), cell("x" * 30)]], 49, [20, 40]), 49)

    assert drawn[2] == "rule" + " " * (13 + GAP) + "x" * 30
    assert drawn[3].rstrip() == "coding-stays-cool"


def test_nothing_shown_is_read_as_markup() -> None:
    drawn = lines(grid(["stop"], [[cell("[/INST] [bold]x[/bold] :smile:")]], 80, [20]), 80)

    assert drawn[2].rstrip() == "[/INST] [bold]x[/bold] :smile:"


def test_control_characters_are_written_out() -> None:
    assert cell("a\x1b[31mb\x07\r\u202ec").plain == "a\\x1b[31mb\\x07\\r\\u202ec"
    assert cell("two\nlines").plain == "two\nlines"


def test_nothing_is_a_dash_and_zero_is_a_value() -> None:
    assert [cell(v).plain for v in (None, "", 0, False)] == ["-", "-", "0", "False"]
    assert cell(None, blank="").plain == ""


def test_pairs_have_no_heading_unless_it_is_given() -> None:
    assert [line.rstrip() for line in lines(pairs([("model", "m", ""), ("task", None, "")]))] == [
        "model  m",
        "task   -",
    ]
    assert lines(pairs([("a", "b", "")], heading="notes"))[0].rstrip() == "notes"
