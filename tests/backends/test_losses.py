from proxy.backends.losses import LONGEST, MOST, Losses, wrong


def test_the_same_loss_at_other_indexes_is_counted_not_repeated():
    losses = Losses()
    for index in (4, 7, 9):
        losses.note(f"messages[{index}].name", "left out")
    losses.note("messages[7].audio", "left out")
    assert losses.lines() == (
        "messages[4].name: left out (and at 2 more places)",
        "messages[7].audio: left out",
    )


def test_keys_that_say_nothing_are_no_loss():
    losses = Losses()
    value = {"a": None, "b": "", "c": [], "d": {}, "read": "x", "zero": 0, "no": False}
    losses.note_unread("messages[0]", value, frozenset(["read"]))
    assert [line.split(":")[0] for line in losses.lines()] == ["messages[0].zero", "messages[0].no"]


def test_lines_and_their_number_are_bounded():
    losses = Losses()
    for index in range(100):
        losses.note("x" * 1000 + str(index), f"left out {index}")
    lines = losses.lines()
    assert len(lines) == MOST
    assert lines[-1] == "and 69 more warnings"
    assert all(len(line) <= LONGEST for line in lines)
    assert lines[0].endswith("...: left out 0")


def test_a_wrong_shape_names_path_and_kinds_but_never_the_value():
    kinds = {
        "null": None,
        "a boolean": True,
        "a number": 1.5,
        "a string": "secret",
        "a list": [1],
        "an object": {},
    }
    for kind, value in kinds.items():
        error = wrong("messages[0].content", "a string", value)
        assert error.message == f"messages[0].content must be a string, not {kind}"
        assert (error.status, error.param) == (400, "messages[0].content")
