"""Static configuration: every setting from its variable, bad values in words, nothing secret said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.errors import ConfigurationError
from proxy.settings import PREFIX, Settings, from_environment, strangers, table

GOOD: dict[str, tuple[str, Any]] = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "workers": ("4", 4),
    "rules": ("/etc/attune, local.yaml,", ("/etc/attune", "local.yaml")),
    "upstreams": ("http://a:1,http://b:2", ("http://a:1", "http://b:2")),
    "log_format": ("json", "json"),
    "insecure": ("on", True),
    "builtin_rules": ("off", False),
    "vendor_defaults": ("False", False),
    "virtual_models": ("1", True),
    "num_ctx": ("pin", "pin"),
    "protected": ("drop", "drop"),
    "max_body": ("4096", 4096),
    "admin_key": (" long-enough\n", "long-enough"),
    "admin_key_file": ("/run/secrets/key", "/run/secrets/key"),
    "discover_every": ("0.5", 0.5),
    "reload_every": ("2", 2.0),
    "drain_delay": ("0", 0.0),
    "drain_timeout": ("10", 10.0),
}
"""Setting -> a text that is not its default, and what it becomes."""

BAD: dict[str, tuple[str, ...]] = {
    "port": ("x", "-1", "65536", "8080.5"),
    "workers": ("0", "65", "two"),
    "log_format": ("xml", "JSON"),
    "insecure": ("maybe", "2"),
    "builtin_rules": ("none",),
    "num_ctx": ("bucked",),
    "protected": ("keep",),
    "max_body": ("0", "32MiB"),
    "discover_every": ("0", "-1", "inf", "nan", "soon"),
    "reload_every": ("0", "inf"),
    "drain_delay": ("-1", "nan"),
    "drain_timeout": ("-0.5", "inf"),
}

ACCEPTED = {
    "port": "65535",
    "log_format": "'text' or 'json'",
    "insecure": "on or off",
    "num_ctx": "'pin', 'bucket' or 'free'",
    "protected": "'allow' or 'drop'",
}
"""Setting -> words that a complaint about `BAD`'s last text has to hold."""


def variable(name: str) -> str:
    return PREFIX + name.upper()


def test_every_setting_is_tried_here() -> None:
    assert GOOD.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", GOOD)
def test_a_setting_is_read_from_its_variable(name: str) -> None:
    text, value = GOOD[name]
    settings = from_environment({variable(name): text})
    assert getattr(settings, name) == value
    assert getattr(Settings(), name) != value or name == "drain_delay"
    others = Settings.model_fields.keys() - {name}
    assert all(getattr(settings, other) == getattr(Settings(), other) for other in others)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_named_with_what_it_is(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment({variable(name): text})
    message = caught.value.message
    assert message.startswith(f"{variable(name)}: ")
    assert repr(text) in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_complaint_says_what_is_accepted(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment({variable(name): "99999"})
    assert ACCEPTED[name] in caught.value.message


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment({"ATTUNE_PORT": "x", "ATTUNE_WORKERS": "0", "ATTUNE_HOST": "::1"})
    lines = caught.value.message.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["ATTUNE_PORT", "ATTUNE_WORKERS"]


def test_a_secret_is_never_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment({"ATTUNE_ADMIN_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "at least 8" in caught.value.message
    kept = from_environment({"ATTUNE_ADMIN_KEY": "correct-horse"})
    assert kept.admin_key == "correct-horse"
    assert "correct-horse" not in repr(kept)
    assert "correct-horse" not in str(kept)


def test_a_password_in_an_upstream_is_never_repeated() -> None:
    with pytest.raises(ConfigurationError, match="ATTUNE_UPSTREAMS: is no JSON list") as caught:
        from_environment({"ATTUNE_UPSTREAMS": '["http://me:hunter2@gpu"'})
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("text", ["       ", "1234567 ", "\t1234567\n"])
def test_white_space_makes_no_key_longer(text: str) -> None:
    with pytest.raises(ConfigurationError):
        from_environment({"ATTUNE_ADMIN_KEY": text})


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", True), ("TRUE", True), (" yes ", True), ("1", True), ("off", False), ("No", False), ("0", False)],
)
def test_a_switch_has_many_spellings(text: str, value: bool) -> None:
    assert from_environment({"ATTUNE_INSECURE": text}).insecure is value
    assert from_environment({"ATTUNE_BUILTIN_RULES": text}).builtin_rules is value


def test_an_empty_variable_is_no_setting() -> None:
    empty = {variable(name): "" for name in Settings.model_fields}
    assert from_environment(empty) == Settings()


def test_variables_of_others_are_left_alone() -> None:
    environ = {"ATTUNE_URL": "http://x", "ATTUNE_API_KEY": "k", "PORT": "1", "attune_port": "1"}
    assert from_environment(environ) == Settings()


def test_the_command_line_beats_the_environment() -> None:
    environ = {"ATTUNE_PORT": "9000", "ATTUNE_HOST": "::1", "ATTUNE_RULES": "a,b"}
    settings = from_environment(environ, port=9001, rules=("c,d",), workers=None)
    assert (settings.port, settings.host, settings.workers) == (9001, "::1", 1)
    assert settings.rules == ("c,d",), "a path from the command line may hold a comma"


def test_a_bad_value_that_is_overruled_does_not_matter() -> None:
    assert from_environment({"ATTUNE_PORT": "x"}, port=80).port == 80


def test_a_list_with_commas_in_its_words_is_written_as_json() -> None:
    assert from_environment({"ATTUNE_RULES": ' ["a,b", "c"]'}).rules == ("a,b", "c")
    with pytest.raises(ConfigurationError, match="ATTUNE_RULES: is no JSON list: "):
        from_environment({"ATTUNE_RULES": '["a'})
    with pytest.raises(ConfigurationError, match=r"ATTUNE_RULES: .*not 1$"):
        from_environment({"ATTUNE_RULES": "[1]"})


def test_false_and_zero_on_the_command_line_are_values() -> None:
    environ = {"ATTUNE_BUILTIN_RULES": "on", "ATTUNE_PORT": "9000"}
    settings = from_environment(environ, builtin_rules=False, port=0)
    assert (settings.builtin_rules, settings.port) == (False, 0)


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ATTUNE_PROT: Extra inputs are not permitted"):
        from_environment({}, prot=1)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_the_table_has_a_line_for_every_setting() -> None:
    lines = table().splitlines()
    assert len(lines) == len(Settings.model_fields) + 2
    assert lines[0] == "| variable | default | meaning |"
    for line, (name, info) in zip(lines[2:], Settings.model_fields.items(), strict=True):
        assert line.startswith(f"| `{variable(name)}` | ")
        assert line.endswith(f" | {info.description} |")
        assert info.description
        assert info.description.endswith(".")


def test_the_table_says_defaults_as_they_are_written() -> None:
    defaults = {line.split(" | ")[0]: line.split(" | ")[1] for line in table().splitlines()[2:]}
    assert defaults["| `ATTUNE_INSECURE`"] == "off"
    assert defaults["| `ATTUNE_BUILTIN_RULES`"] == "on"
    assert defaults["| `ATTUNE_RULES`"] == ""
    assert defaults["| `ATTUNE_ADMIN_KEY`"] == ""
    written = {name: text for name in Settings.model_fields if (text := defaults[f"| `{variable(name)}`"])}
    assert from_environment({variable(name): text for name, text in written.items()}) == Settings()


def test_a_variable_that_names_no_setting_is_told_of() -> None:
    environ = {"ATTUNE_PROT": "1", "ATTUNE_URL": "x", "ATTUNE_PORT": "1", "HOME": "/", "ATTUNE_MAXBODY": "9"}
    assert strangers(environ) == [
        "ATTUNE_MAXBODY is no setting and has no effect; did you mean ATTUNE_MAX_BODY?",
        "ATTUNE_PROT is no setting and has no effect; did you mean ATTUNE_PORT?",
    ]
