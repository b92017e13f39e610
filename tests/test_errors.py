"""The tree of errors: a status and a code for each, said in OpenAI's shape, and drawn as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from proxy import errors
from proxy.errors import (
    AttuneError,
    Draining,
    MethodNotAllowed,
    NoHealthyUpstream,
    RejectedByRule,
    RuleFault,
    TooManyRequests,
    Unauthenticated,
    UnknownModel,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tests.error_samples import BASES, OURS, SAMPLES


def tree(root: type[AttuneError], depth: int = 0) -> Iterator[tuple[int, type[AttuneError]]]:
    """Every class below `root` with its depth, in the order of definition."""
    yield depth, root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


CLASSES = [cls for _, cls in tree(AttuneError)]

each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)


def test_there_is_a_sample_of_each_that_clients_may_meet() -> None:
    assert {type(sample) for sample in SAMPLES} == set(CLASSES) - {*BASES, *OURS}
    assert len(SAMPLES) == len({type(sample) for sample in SAMPLES})


@each_class
def test_each_has_a_status_of_an_error_and_a_code_of_ours(cls: type[AttuneError]) -> None:
    assert 400 <= cls.status <= 599
    assert re.fullmatch(r"attune_[a-z_]+", cls.code)
    assert re.fullmatch(r"[a-z_]+_error", cls.type)
    assert cls.__doc__


def test_codes_are_unique() -> None:
    codes = [
        cls.code for cls in CLASSES if cls is not UpstreamRefused
    ]  # says the upstream's code, not its own
    assert sorted(codes) == sorted(set(codes))


def test_client_errors_are_4xx_and_upstream_errors_5xx() -> None:
    for cls in CLASSES:
        if issubclass(cls, errors.ClientError):
            assert 400 <= cls.status <= 499, cls
        else:
            assert cls.status >= 500, cls


@each_sample
def test_the_body_is_openai_s(sample: AttuneError) -> None:
    body = sample.body()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"] == sample.message
    assert str(sample) == sample.message


@each_sample
def test_headers_can_be_sent(sample: AttuneError) -> None:
    for name, value in sample.headers():
        assert re.fullmatch(r"[a-z-]+", name)
        assert value
        assert value.isascii()
        assert value.isprintable()


def test_only_an_upstream_s_own_error_has_a_foreign_code() -> None:
    foreign = [type(s) for s in SAMPLES if not s.body()["error"]["code"].startswith("attune_")]
    assert foreign == [UpstreamRefused]


def test_an_upstream_s_error_keeps_its_status_words_and_headers() -> None:
    said = {"message": "no", "type": "api_error", "param": None, "code": None}
    error = UpstreamRefused(418, said, [("retry-after", "7")])
    assert (error.status, error.message, error.body()) == (418, "no", {"error": said})
    assert error.headers() == [("retry-after", "7")]
    assert UpstreamRefused(500, {}).message == ""
    assert UpstreamRefused.status == 502, "the class keeps its own"


def test_a_rule_chooses_the_status() -> None:
    assert (RejectedByRule("no").status, RejectedByRule("no", status=451).status) == (403, 451)


def test_an_unknown_model_points_at_the_field() -> None:
    assert UnknownModel("no").body()["error"]["param"] == "model"


def test_some_say_when_to_come_back_or_what_to_bring() -> None:
    assert TooManyRequests("full", retry_after=9).headers() == [("retry-after", "9")]
    assert NoHealthyUpstream("down").headers() == [("retry-after", "2")]
    assert dict(Draining("bye").headers()) == {"retry-after": "5", "connection": "close"}
    assert Unauthenticated("who").headers() == [("www-authenticate", "Bearer")]
    assert MethodNotAllowed("GET", "POST, PUT").headers() == [("allow", "POST, PUT")]
    assert MethodNotAllowed("GET", "POST").message == "GET is not allowed here; allowed: POST"


def test_what_may_be_tried_again() -> None:
    assert UpstreamBroken("x").retryable
    assert UpstreamUnreachable("x").retryable
    assert not NoHealthyUpstream("x").retryable
    assert not UpstreamRefused(503, {}).retryable, "the gateway says so where it is"
    retried = [
        p for p in ("connect", "first_byte", "idle", "total") if UpstreamTimeout("x", phase=p).retryable
    ]
    assert retried == ["connect"]


def test_a_fault_in_a_rule_file_says_where() -> None:
    assert str(RuleFault("bad", file="a.yaml", line=3)) == "a.yaml:3: bad"
    assert RuleFault("bad", file="a.yaml", line=3).message == "bad"
    assert str(RuleFault("bad")) == "bad"


DRAWN = re.compile(
    r"^    (?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +(?P<status>[45][0-9x]{2}))?", re.MULTILINE
)


def test_the_drawing_is_the_tree() -> None:
    drawn = [(len(m["indent"]) // 4, m["name"], m["status"]) for m in DRAWN.finditer(errors.__doc__ or "")]
    assert [(depth, name) for depth, name, _ in drawn] == [(d, c.__name__) for d, c in tree(AttuneError)]
    for _, name, status in drawn:
        if status is not None and status != "4xx":
            assert int(status) == getattr(errors, name).status, name
    unsaid = {name for _, name, status in drawn if status is None}
    assert unsaid == {"AttuneError", "UpstreamRefused", *(c.__name__ for c in (*BASES, *OURS))}
