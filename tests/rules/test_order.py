"""The enabled rules of all files, where each stands, and what lies between two of them."""

from __future__ import annotations

from proxy.rules.order import Order
from proxy.rules.parse import parse
from tests.rules.files import parsed

ONE = """\
rules:
  - name: a
    set:
      num_predict: 5
    drop: [seed]
  - {name: off, enabled: false, stop: true}
  - name: b
    task: analysis
"""
TWO = "rules: [{name: c, stop: true}, {name: d}]"


def test_rules_of_all_files_in_order() -> None:
    order = Order([parsed(ONE, "one"), parse("a: [", "broken"), parsed(TWO, "two")])
    assert [(p.rule.name, p.parsed.file, p.index) for p in order.rules] == [
        ("a", "one", 0), ("b", "one", 2), ("c", "two", 0), ("d", "two", 1),
    ]  # fmt: skip


def test_lines_of_keys_and_parameters_in_any_spelling() -> None:
    first = Order([parsed(ONE, "one")]).rules[0]
    assert first.line() == 2
    assert first.line("set", "max_tokens") == 4
    assert first.line("set", "seed") == 3
    assert first.line("drop", "seed") == 5
    assert first.line("match", "task") == 2
    assert first.where == "rule 'a' (one:2)"
    assert str(first.fault("is odd", "set", "max_tokens")) == "one:4: rule 'a' is odd"


def test_what_happens_on_the_way() -> None:
    order = Order([parsed(ONE, "one"), parsed(TWO, "two")])
    assert [order.may_stop(0, n) for n in range(5)] == [False, False, False, True, True]
    assert [order.may_move(0, n) for n in range(5)] == [False, False, True, True, True]
    assert not order.may_move(2, 4)
    assert order.may_stop(2, 3)
    assert not order.may_stop(2, 2)


def test_an_order_knows_whether_its_questions_were_answered() -> None:
    order = Order([parsed(TWO)])
    index = order.index(share=2)
    assert not order.exhausted
    index.left = 0
    assert order.exhausted
