import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.app import App
from proxy.parameters.layers import Layer
from proxy.settings import from_environment
from tests.cli.answering import scripted
from tests.cli.conftest import RULES, Attune


def explained(attune: Attune, *words: str, **settings: Any) -> Any:
    result = attune("explain", *words, "--json", **settings)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_needs_nothing_but_a_model(attune: Attune) -> None:
    said = explained(attune, "--model", "qwen3:8b", "--set", "temperature=0.4")

    assert (said["model"], said["upstream"], said["runtime"], said["family"]) == (
        "qwen3:8b",
        None,
        "ollama",
        "qwen3",
    )
    assert said["parameters"]["temperature"]["value"] == 0.4
    assert said["parameters"]["temperature"]["wire"] == "options.temperature"
    assert said["upstream_body"]["options"]["temperature"] == 0.4


def test_rule_files_say_where_it_would_go_and_what_happens(attune: Attune, rules: str) -> None:
    said = explained(
        attune, "-m", "llama3:8b", "--task", "engineering", "--rules", rules, "--set", "temperature=1.6",
        "--set", "top_k=3", "--set", 'logit_bias={"5": 1}',
    )  # fmt: skip

    assert (said["upstream"], said["task"]) == ("gpu-a", "engineering")
    assert said["rules"] == ["coding-stays-cool"]
    assert said["parameters"]["temperature"]["clamped"]["from"] == 1.6
    assert said["parameters"]["temperature"]["value"] == 0.7
    assert (said["parameters"]["seed"]["value"], said["parameters"]["seed"]["layer"]) == (7, "rule-set")
    assert set(said["dropped"]) == {"top_k", "logit_bias"}
    assert said["upstream_body"]["messages"][0]["content"].startswith("Be careful.")


def test_routes_by_rule_are_followed(attune: Attune, rules: str) -> None:
    said = explained(attune, "-m", "small", "--rules", rules)

    assert (said["model"], said["upstream_model"]) == ("small", "big")
    assert (said["upstream"], said["runtime"]) == ("gpu-b", "vllm")


def test_the_runtime_may_be_chosen(attune: Attune, rules: str) -> None:
    said = explained(attune, "-m", "llama3:8b", "--rules", rules, "--runtime", "vllm", "--set", "mirostat=2")

    assert (said["runtime"], said["upstream"]) == ("vllm", None)
    assert "mirostat" in said["dropped"]


def test_profiles_by_option_header_and_name_are_one(attune: Attune, rules: str) -> None:
    ways = (
        ("-m", "llama3:8b", "--profile", "terse"),
        ("-m", "llama3:8b", "--header", "X-Tuning-Profile: terse"),
        ("-m", "llama3:8b", "--header", "x-tuning-profile=terse"),
        ("-m", "llama3:8b@terse"),
        ("-m", "auto", "--profile", "terse"),
        ("--profile", "terse"),
    )
    for words in ways:
        said = explained(attune, *words, "--rules", rules)
        assert (said["model"], said["profile"], said["profile_by"]) == ("llama3:8b", "terse", "request"), (
            words
        )
        assert said["parameters"]["max_tokens"]["value"] == 64
        assert said["system_prompt"] == {"source": "profile terse"}


def test_the_body_may_come_from_a_file_or_standard_input(attune: Attune, tmp_path: Path) -> None:
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "top_k": 5, "stream": True}
    )
    file = tmp_path / "body.json"
    file.write_text(body)

    for said in (explained(attune, "--body", str(file)), explained(attune, "--body", "-", input=body)):
        assert said["model"] == "m"
        assert said["upstream_body"]["messages"] == [{"role": "user", "content": "Hello"}]
        assert said["upstream_body"]["stream"] is True
        assert said["parameters"]["top_k"]["value"] == 5
    said = explained(attune, "--body", str(file), "-m", "other", "--set", "top_k=6")
    assert (said["model"], said["parameters"]["top_k"]["value"]) == ("other", 6)


def test_a_streaming_client(attune: Attune) -> None:
    assert explained(attune, "-m", "m", "--stream")["upstream_body"]["stream"] is True
    assert explained(attune, "-m", "m")["upstream_body"]["stream"] is False


def test_values_are_json_or_else_text(attune: Attune) -> None:
    said = explained(
        attune, "-m", "m", "--set", 'stop=["a", "b"]', "--set", "keep_alive=5m", "--set", "user=a=b"
    )

    assert said["parameters"]["stop"]["value"] == ["a", "b"]
    assert said["parameters"]["keep_alive"]["value"] == "5m"
    refused = attune("explain", "-m", "m", "--set", 'temperature="0.4"')
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "temperature" in refused.stderr


@pytest.mark.parametrize("words", [("--set", "temperature"), ("--set", "=1"), ("--header", "x-team"),
                                   ("--header", "=red"), ("--header", "x-team=rot\u2764"), ("--header", "a=b\nc"),
                                   ("--runtime", "llamafile"), ("--body", "/nowhere/body.json")])  # fmt: skip
def test_wrong_options_are_usage_errors(attune: Attune, words: tuple[str, ...]) -> None:
    result = attune("explain", "-m", "m", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-m", "m", "--profile", "nosuch"), "attune_unknown_profile"),
        (("-m", "m", "--set", "top_p=true"), "attune_bad_parameter"),
        (("-m", "m", "--header", "X-Tuning-Strict=1", "--set", "top_p=1.5"), "attune_strict"),
        (("-m", "m", "--body", "-"), "attune_bad_body"),
        ((), "attune_bad_body"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused(
    attune: Attune, rules: str, words: tuple[str, ...], code: str
) -> None:
    spoken = attune("explain", *words, "--rules", rules, input="[1]")
    as_json = attune("explain", *words, "--rules", rules, "--json", input="[1]")

    error = json.loads(as_json.stdout)["error"]
    assert (as_json.exit_code, as_json.stderr, error["code"]) == (1, "", code)
    assert (spoken.exit_code, spoken.stdout, spoken.stderr) == (1, "", error["message"] + "\n")


def test_a_rules_refusal_names_the_rule(attune: Attune, rules: str) -> None:
    words = ("explain", "-m", "m", "--header", "x-team=red-1", "--rules", rules)
    spoken, as_json = attune(*words), attune(*words, "--json")

    assert (spoken.exit_code, spoken.stdout) == (1, "")
    assert spoken.stderr == "rule no-secrets rejects with 403: not for your team\n"
    said = json.loads(as_json.stdout)
    assert (as_json.exit_code, as_json.stderr) == (1, "")
    assert set(said) == {"error", "rules"}
    assert (said["error"]["code"], said["error"]["message"]) == (
        "attune_rejected_by_rule",
        "not for your team",
    )
    assert said["rules"] == ["no-secrets"]


def test_of_several_rules_the_last_that_rejects_is_named_first(attune: Attune, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        "rules:\n"
        "  - {name: a, reject: {status: 403, message: first}}\n"
        "  - {name: b, reject: {status: 451, message: second}}\n"
        "  - {name: c, set: {seed: 1}}\n"
    )
    words = ("explain", "-m", "m", "--rules", str(file))

    assert attune(*words).stderr == "rule b rejects with 451: second (matched: a, b, c)\n"
    assert json.loads(attune(*words, "--json").stdout)["rules"] == ["a", "b", "c"]


def test_faults_in_rule_files_are_all_named(attune: Attune, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules:\n  - {name: a, color: red}\n  - {name: b, set: {top_q: 1}}\n")
    result = attune("explain", "-m", "m", "--rules", str(bad))

    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [f"{bad}:2", f"{bad}:3"]


def test_settings_of_the_environment_hold(
    attune: Attune, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "vendor" in {p["layer"] for p in explained(attune, "-m", "qwen3:8b")["parameters"].values()}
    monkeypatch.setenv("ATTUNE_VENDOR_DEFAULTS", "off")
    assert explained(attune, "-m", "qwen3:8b")["parameters"] == {}
    monkeypatch.setenv("ATTUNE_RULES", rules)
    assert explained(attune, "-m", "llama3:8b")["upstream"] == "gpu-a"
    monkeypatch.setenv("ATTUNE_PROTECTED", "drop")
    assert "num_ctx" in explained(attune, "-m", "llama3:8b", "--set", "num_ctx=4096")["dropped"]


@pytest.mark.parametrize("columns", ["80", "100"])
def test_the_table_fits_the_screen(attune: Attune, rules: str, columns: str) -> None:
    words = ("-m", "llama3:8b", "--task", "engineering", "--rules", rules, "--set", "temperature=1.6",
             "--set", "top_k=3", "--set", "presence_penalty=1", "--set", 'response_format={"type": "json_object"}',
             "--set", "mirostat=2", "--set", 'stop=["a", "b", "c", "d", "e", "f", "g"]')  # fmt: skip
    result = attune("explain", *words, env={"COLUMNS": columns})

    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= int(columns)
    for name in (
        "temperature",
        "presence_penalty",
        "coding-stays-cool",
        "mirostat",
        "clamped from 1.6",
        "gpu-a",
    ):
        assert name in result.stdout
    assert "\x1b" not in result.stdout


def test_an_assumed_runtime_is_said_to_be(attune: Attune, rules: str) -> None:
    assert "(ollama, assumed)" in attune("explain", "-m", "llama3:8b").stdout
    assert "assumed" not in attune("explain", "-m", "llama3:8b", "--rules", rules).stdout
    assert "assumed" not in attune("explain", "-m", "llama3:8b", "--runtime", "ollama").stdout


def test_colours_only_where_they_are_wanted(attune: Attune) -> None:
    words = ("explain", "-m", "qwen3:8b", "--set", "temperature=0.4")

    assert "\x1b[" in attune(*words, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"}).stdout
    coloured = attune(*words, env={"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm-256color"}).stdout
    assert "\x1b[3" not in coloured


def test_the_layers_are_printed_without_a_model(attune: Attune) -> None:
    result = attune("explain", "--layers")

    assert result.exit_code == 0
    assert result.stdout.index("runtime") < result.stdout.index("vendor") < result.stdout.index("rule-set")


def test_the_layers_as_json(attune: Attune) -> None:
    for words in (("--layers", "--json"), ("--json", "--layers")):
        result = attune("explain", *words)
        said = json.loads(result.stdout)
        assert result.exit_code == 0
        assert [(entry["layer"], entry["number"], entry["sent"], entry["summary"]) for entry in said] == [
            (layer.label, layer.value, layer.sent, layer.summary) for layer in Layer
        ]


@pytest.mark.parametrize("words", [("--layers",), ("-m", "qwen3:8b", "--set", "mirostat=2")])
@pytest.mark.parametrize("more", [{}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}])
def test_no_line_ends_in_blanks(attune: Attune, words: tuple[str, ...], more: dict[str, str]) -> None:
    lines = attune("explain", *words, env=more).stdout.splitlines()

    plain = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in lines]
    assert len(plain) > 5
    assert [line for line in plain if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("temperature=.5", 0.5),
        ("temperature=1.", 1.0),
        ("temperature=+1", 1),
        ("temperature=-.0", 0.0),
        ("top_k=+3", 3),
        ("num_predict=+300", 300),
        ("mirostat=+2", 2),
        ("seed=007", 7),
    ],
)
def test_numbers_are_read_as_people_write_them(attune: Attune, given: str, value: float) -> None:
    said = explained(attune, "-m", "m", "--set", given)
    name = {"num_predict": "max_tokens"}.get(given.partition("=")[0], given.partition("=")[0])
    read = said["dropped"].get(name) or said["parameters"][name]

    assert read["value"] == value
    assert isinstance(read["value"], int | float)


@pytest.mark.parametrize("given", ["temperature=warm", "temperature=nan", "temperature=inf", "top_k=1_0"])
def test_what_is_no_number_stays_a_text_and_is_refused(attune: Attune, given: str) -> None:
    result = attune("explain", "-m", "m", "--set", given)

    assert (result.exit_code, result.stdout) == (1, "")
    assert given.partition("=")[2] in result.stderr


def test_texts_that_look_like_numbers_stay_texts(attune: Attune) -> None:
    said = explained(attune, "-m", "m", "--runtime", "vllm", "--set", "user=+5", "--set", "stop=.5")

    assert said["parameters"]["stop"]["value"] == [".5"]
    assert said["upstream_body"]["user"] == "+5"


def test_a_running_proxy_is_asked_by_url(attune: Attune) -> None:
    answer = explained(attune, "-m", "m")
    with scripted(200, answer) as proxy:
        said = explained(
            attune, "--url", proxy.url, "--key", "k" * 8, "-m", "m", "--task", "analysis", "--set", "top_k=3",
            "--header", "X-Team: red", "--stream",
        )  # fmt: skip
        drawn = attune("explain", "--url", proxy.url, "-m", "m")

    method, path, headers, body = proxy.asked[0]
    assert said == answer
    assert (method, path, headers["authorization"]) == ("POST", "/api/v1/explain", "Bearer " + "k" * 8)
    assert json.loads(body) == {
        "model": "m",
        "headers": {"x-team": "red", "x-tuning-task": "analysis"},
        "body": {"top_k": 3, "stream": True},
    }
    assert drawn.stdout.startswith("model     m\n") or drawn.stdout.startswith("model     m ")


def test_a_running_proxys_refusal_is_passed_on(attune: Attune) -> None:
    error = {
        "message": "no model x",
        "type": "not_found_error",
        "param": "model",
        "code": "attune_unknown_model",
    }
    with scripted(404, {"error": error}) as proxy:
        spoken = attune("explain", "--url", proxy.url, "-m", "x")
        as_json = attune("explain", "--url", proxy.url, "-m", "x", "--json")

    assert (spoken.exit_code, spoken.stderr) == (1, "no model x\n")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, {"error": error})


@pytest.mark.parametrize("words", [("--rules", "x.yaml"), ("--runtime", "vllm")])
def test_a_running_proxy_has_its_own_rules_and_runtimes(attune: Attune, words: tuple[str, ...]) -> None:
    assert attune("explain", "--url", "http://127.0.0.1:9", "-m", "m", *words).exit_code == 2


QUESTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": (("-m", "llama3:8b"), {"model": "llama3:8b"}),
    "busy": (
        ("-m", "llama3:8b", "--task", "engineering", "--profile", "terse", "--set", "temperature=1.6", "--stream",
         "--set", "top_k=3", "--set", "mirostat=2", "--set", 'options={"num_ctx": 8192, "typo": 1}'),
        {
            "model": "llama3:8b", "headers": {"X-Tuning-Task": "engineering", "X-Tuning-Profile": "terse"},
            "body": {"temperature": 1.6, "top_k": 3, "mirostat": 2, "options": {"num_ctx": 8192, "typo": 1},
                     "stream": True},
        },
    ),
    "routed": (("-m", "small", "--set", "top_k=3"), {"model": "small", "body": {"top_k": 3}}),
    "vllm": (("-m", "Qwen/Qwen3-8B", "--set", "think=false"), {"model": "Qwen/Qwen3-8B", "body": {"think": False}}),
    "auto": (("--profile", "terse"), {"headers": {"x-tuning-profile": "terse"}}),
    "virtual": (("-m", "Qwen/Qwen3-8B@terse"), {"model": "Qwen/Qwen3-8B@terse"}),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_answer_is_the_apis(attune: Attune, rules: str, question: str) -> None:
    words, asked = QUESTIONS[question]
    app = App(from_environment({}, rules=(rules,)), {})
    await app.start()
    try:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://attune") as client:
            reply = await client.post("/api/v1/explain", json=asked)
    finally:
        await app.stop()
    theirs, ours = reply.json(), explained(attune, *words, "--rules", rules)

    assert reply.status_code == 200, theirs
    assert theirs.pop("request_id") != ours.pop("request_id")
    assert ours == theirs


def test_the_examples_rules_are_sound(attune: Attune, rules: str) -> None:
    assert Path(rules).read_text() == RULES
    assert attune("check", rules).exit_code == 0
