"""The options of a request: layers, types, what is ignored."""

import pytest

from proxy.demo.options import (
    DEFAULT_NUM_CTX,
    MODEL_PARAMETERS,
    TRAINED_CONTEXT,
    Options,
    read_options,
    show_parameters,
)
from proxy.demo.sampler import SamplingOptions
from proxy.demo.wire import Refused


class TestLayers:
    def test_defaults_with_the_models_parameters_on_top(self):
        assert read_options({}) == Options(SamplingOptions(temperature=0.7, top_p=0.9, repeat_penalty=1.1))
        assert read_options({}).num_ctx == DEFAULT_NUM_CTX

    def test_the_request_wins(self):
        options = read_options({"temperature": 1.5, "repeat_penalty": 1.0})
        assert (options.sampling.temperature, options.sampling.repeat_penalty) == (1.5, 1.0)
        assert options.sampling.top_p == 0.9

    def test_zero_is_a_value_and_null_is_none(self):
        assert read_options({"temperature": 0}).sampling.temperature == 0.0
        assert read_options({"temperature": None, "seed": None}) == read_options({})

    def test_every_sampling_option_arrives(self):
        requested = {
            "temperature": 0.1,
            "top_k": 2,
            "top_p": 0.3,
            "min_p": 0.4,
            "typical_p": 0.5,
            "repeat_last_n": 6,
            "repeat_penalty": 1.7,
            "presence_penalty": 0.8,
            "frequency_penalty": 0.9,
            "mirostat": 1,
            "mirostat_tau": 2.0,
            "mirostat_eta": 0.3,
        }
        assert read_options(requested).sampling == SamplingOptions(**requested)
        assert set(requested) == set(SamplingOptions.__slots__)

    def test_the_others_arrive(self):
        options = read_options({"seed": 0, "num_predict": 9, "stop": ["a", "b"]})
        assert (options.seed, options.num_predict, options.stop) == (0, 9, ("a", "b"))

    def test_unknown_removed_and_miscased_are_ignored(self):
        requested = {
            "Temperature": "x",
            "tfs_z": "x",
            "penalize_newline": 3,
            "draft_num_predict": [],
            "n": {},
        }
        assert read_options(requested) == read_options({})

    @pytest.mark.parametrize(
        ("sent", "effective"), [(0, 4), (-5, 4), (4, 4), (100, 100), (10**6, TRAINED_CONTEXT), (99.9, 99)]
    )
    def test_num_ctx_is_clamped(self, sent: float, effective: int):
        assert read_options({"num_ctx": sent}).num_ctx == effective


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "value", "type_name"),
        [
            ("temperature", "0.5", "float32"),
            ("temperature", True, "float32"),
            ("top_p", [], "float32"),
            ("mirostat_tau", "5", "float32"),
            ("top_k", "40", "integer"),
            ("seed", False, "integer"),
            ("mirostat", {}, "integer"),
            ("num_gpu", "all", "integer"),
            ("use_mmap", "true", "boolean"),
            ("use_mmap", 1, "boolean"),
            ("low_vram", 0, "boolean"),
            ("stop", "x", "array"),
        ],
    )
    def test_wrong_ones_are_a_500(self, name: str, value: object, type_name: str):
        with pytest.raises(Refused) as refused:
            read_options({name: value})
        assert refused.value.status == 500
        assert refused.value.message == f'option "{name}" must be of type {type_name}'

    def test_stop_holds_strings_only(self):
        with pytest.raises(Refused) as refused:
            read_options({"stop": ["a", 1]})
        assert (refused.value.status, refused.value.message) == (
            500,
            'option "stop" must be of an array of strings',
        )

    def test_fractions_of_integers_are_cut_toward_zero(self):
        assert read_options({"top_k": 40.9}).sampling.top_k == 40
        assert read_options({"seed": -2.7}).seed == -2

    def test_integers_are_floats_too(self):
        temperature = read_options({"temperature": 1}).sampling.temperature
        assert temperature == 1.0 and isinstance(temperature, float)

    def test_load_time_options_are_accepted(self):
        assert read_options({"num_gpu": 1, "num_thread": 4, "use_mmap": True, "num_keep": 4}) == read_options(
            {}
        )


def test_shown_in_columns():
    lines = show_parameters().splitlines()
    assert lines[0] == "temperature                    0.7"
    assert {line.split()[0]: float(line.split()[1]) for line in lines} == MODEL_PARAMETERS
    assert all(line[30] == " " for line in lines)
