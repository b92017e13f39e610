"""The sampler: every option does what it says, alone and together with the others."""

import math
import random
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.demo.language_model import LanguageModel, split
from proxy.demo.sampler import (
    Sampler,
    SamplingOptions,
    Shares,
    draw,
    filtered,
    heated,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    penalise,
    ranked,
    zipf_cut,
)

PLAIN = SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, repeat_penalty=1.0)

logits_lists = st.lists(st.floats(-60, 60), min_size=1, max_size=40)
option_sets = st.builds(
    SamplingOptions,
    temperature=st.floats(0, 5),
    top_k=st.integers(-1, 60),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    typical_p=st.floats(0, 1),
    repeat_last_n=st.integers(-1, 40),
    repeat_penalty=st.floats(0, 3),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    mirostat=st.integers(0, 2),
    mirostat_tau=st.floats(0, 12),
    mirostat_eta=st.floats(0, 2),
)
wild_options = st.builds(
    SamplingOptions,
    **{
        name: st.floats(allow_nan=False, allow_infinity=False)
        for name in SamplingOptions.__slots__
        if name not in ("top_k", "repeat_last_n", "mirostat")
    },
    top_k=st.integers(),
    repeat_last_n=st.integers(),
    mirostat=st.integers(-1, 3),
)


def options(**values: float) -> SamplingOptions:
    return SamplingOptions(**{name: getattr(PLAIN, name) for name in PLAIN.__slots__} | values)


def make_shares(*weights: float) -> Shares:
    return [(token, weight / sum(weights)) for token, weight in enumerate(weights)]


def tokens_of(shares: Shares) -> list[int]:
    return [token for token, _ in shares]


def share_of(logits: list[float], token: int) -> float:
    return dict(ranked(logits)).get(token, 0.0)


class Run:
    """A long text sampled from the model, and figures about it."""

    def __init__(self, model: LanguageModel, chosen: SamplingOptions, seed: int = 7, count: int = 350):
        focus = model.focus(split("How do I make a good soup in winter?"))
        sampler = Sampler(chosen, random.Random(seed))
        context, self.tokens, logprobs = model.context([]), [], []
        for _ in range(count):
            sampled = sampler.sample(model.logits(context, focus), self.tokens)
            self.tokens.append(sampled.token)
            logprobs.append(sampled.logprob)
            context = model.extend(context, sampled.token) if sampled.token else model.context([])
        self.surprise = -sum(logprobs) / len(logprobs) / math.log(2)
        """Mean, in bits."""

    @property
    def repeated(self) -> float:
        """The part of the tokens that stood among the 30 before them."""
        again = sum(token in self.tokens[max(0, i - 30) : i] for i, token in enumerate(self.tokens))
        return again / len(self.tokens)


class TestAnyOptions:
    @given(logits_lists, option_sets, st.lists(st.integers(-2, 45), max_size=50), st.integers())
    def test_a_valid_token(self, logits, chosen, history, seed):
        sampler = Sampler(chosen, random.Random(seed))
        for _ in range(3):
            sampled = sampler.sample(logits, history, alternatives=2)
            assert 0 <= sampled.token < len(logits)
            assert sampled.logprob <= 1e-9
            assert len(sampled.alternatives) == min(2, len(logits))

    @given(logits_lists, wild_options, st.lists(st.integers(-2, 45), max_size=50))
    def test_a_valid_token_even_out_of_every_range(self, logits, chosen, history):
        sampled = Sampler(chosen, random.Random(1)).sample(logits, history)
        assert 0 <= sampled.token < len(logits)

    @given(logits_lists, option_sets)
    def test_filters_never_leave_nothing_and_add_up(self, logits, chosen):
        kept = filtered(logits, chosen)
        assert kept
        assert sum(share for _, share in kept) == pytest.approx(1.0)
        assert len(set(tokens_of(kept))) == len(kept)
        assert sorted(kept, key=lambda pair: -pair[1]) == kept

    @given(logits_lists, option_sets, st.integers())
    def test_same_seed_same_tokens(self, logits, chosen, seed):
        def run() -> list[int]:
            sampler, said = Sampler(chosen, random.Random(seed)), []
            for _ in range(8):
                said.append(sampler.sample(logits, said).token)
            return said

        assert run() == run()


class TestGreedy:
    @given(logits_lists, option_sets)
    def test_takes_the_best(self, logits, chosen):
        chosen = SamplingOptions(
            **{name: getattr(chosen, name) for name in chosen.__slots__} | {"temperature": 0.0, "mirostat": 0}
        )
        assert Sampler(chosen, random.Random(1)).sample(logits, []).token == logits.index(max(logits))

    @given(logits_lists, st.floats(0.01, 5), st.integers())
    def test_top_k_of_one_is_greedy(self, logits, temperature, seed):
        chosen = options(temperature=temperature, top_k=1)
        assert Sampler(chosen, random.Random(seed)).sample(logits, []).token == logits.index(max(logits))

    def test_penalties_come_first(self):
        chosen = options(temperature=0.0, presence_penalty=2.0)
        assert Sampler(chosen, random.Random(1)).sample([3.0, 2.0], [0]).token == 1

    def test_holds_under_mirostat_too(self):
        chosen = options(temperature=0.0, mirostat=2)
        assert {
            Sampler(chosen, random.Random(seed)).sample([1.0, 1.1, 0.9], []).token for seed in range(20)
        } == {1}


class TestLogprobs:
    def test_are_the_models_own(self):
        logits = [2.0, 1.0, 0.0]
        chosen = options(temperature=0.1, top_k=1, repeat_penalty=2.0)
        sampled = Sampler(chosen, random.Random(1)).sample(logits, [0, 1], alternatives=2)
        norm = math.log(sum(map(math.exp, logits)))
        assert sampled.logprob == pytest.approx(logits[sampled.token] - norm)
        assert sampled.alternatives == [(0, pytest.approx(2.0 - norm)), (1, pytest.approx(1.0 - norm))]

    def test_no_alternatives_unless_asked(self):
        assert Sampler(PLAIN, random.Random(1)).sample([1.0, 2.0], []).alternatives == []


class TestPenalties:
    def test_repeat_penalty_divides_and_multiplies(self):
        assert penalise([4.0, -4.0, 1.0], [0, 1, 1], options(repeat_penalty=2.0)) == [2.0, -8.0, 1.0]

    def test_presence_is_paid_once_frequency_each_time(self):
        assert penalise([1.0, 1.0], [0, 0, 0], options(presence_penalty=0.5)) == [0.5, 1.0]
        assert penalise([1.0, 1.0], [0, 0, 0], options(frequency_penalty=0.5)) == [-0.5, 1.0]

    @pytest.mark.parametrize(
        ("last_n", "expected"), [(0, [1, 1, 1]), (1, [1, 1, 0]), (2, [1, 0, 0]), (-1, [0, 0, 0])]
    )
    def test_window(self, last_n, expected):
        chosen = options(presence_penalty=1.0, repeat_last_n=last_n)
        assert penalise([1.0, 1.0, 1.0], [0, 1, 2], chosen) == expected

    def test_what_is_no_token_costs_nothing(self):
        assert penalise([1.0, 2.0], [-1, -2, 99], options(repeat_penalty=2.0)) == [1.0, 2.0]

    @given(logits_lists, st.lists(st.integers(0, 39), min_size=1), st.floats(1, 3), st.floats(0, 3))
    def test_a_higher_repeat_penalty_never_helps(self, logits, history, low, extra):
        cheap = penalise(logits, history, options(repeat_penalty=low))
        dear = penalise(logits, history, options(repeat_penalty=low + extra))
        assert all(more <= less for more, less in zip(dear, cheap, strict=True))

    @given(
        logits_lists,
        st.lists(st.integers(0, 39), min_size=1),
        st.sampled_from(["presence_penalty", "frequency_penalty"]),
        st.floats(-2, 2),
        st.floats(0, 2),
    )
    def test_a_higher_price_never_helps(self, logits, history, name, low, extra):
        cheap = penalise(logits, history, options(**{name: low}))
        dear = penalise(logits, history, options(**{name: low + extra}))
        assert all(more <= less for more, less in zip(dear, cheap, strict=True))

    @given(logits_lists, option_sets)
    def test_an_empty_history_changes_nothing(self, logits, chosen):
        assert penalise(logits, [], chosen) == logits

    @pytest.mark.parametrize(
        "values", [{"repeat_penalty": 1.6}, {"presence_penalty": 2.0}, {"frequency_penalty": 1.0}]
    )
    def test_lower_repetition_of_real_text(self, model, values):
        usual = {"temperature": 0.7, "top_k": 40, "top_p": 0.9}
        plain = [Run(model, options(**usual), seed).repeated for seed in range(3)]
        penalised = [Run(model, options(**usual, **values), seed).repeated for seed in range(3)]
        assert max(penalised) < min(plain)


class TestFilters:
    def test_top_k(self):
        shares = make_shares(4, 3, 2, 1)
        assert tokens_of(keep_top_k(shares, 2)) == [0, 1]
        assert tokens_of(keep_top_k(shares, 0)) == [0]
        assert len(ranked([1.0, 2.0, 3.0], top_k=2)) == 2
        assert len(ranked([1.0, 2.0, 3.0], top_k=0)) == 3

    def test_ranked_orders_by_share_then_token(self):
        assert tokens_of(ranked([1.0, 3.0, 1.0, 2.0])) == [1, 3, 0, 2]

    def test_top_p_keeps_the_fewest_that_reach_it(self):
        shares = make_shares(4, 3, 2, 1)
        assert tokens_of(keep_top_p(shares, 0.4)) == [0]
        assert tokens_of(keep_top_p(shares, 0.5)) == [0, 1]
        assert tokens_of(keep_top_p(shares, 0.95)) == [0, 1, 2, 3]
        assert keep_top_p(shares, 1.0) == shares
        assert tokens_of(keep_top_p(shares, 0.0)) == [0]

    def test_min_p_compares_with_the_best(self):
        shares = make_shares(10, 6, 5, 1)
        assert tokens_of(keep_min_p(shares, 0.5)) == [0, 1, 2]
        assert tokens_of(keep_min_p(shares, 1.0)) == [0]
        assert tokens_of(keep_min_p(shares, 7.0)) == [0]
        assert keep_min_p(shares, 0.0) == shares

    def test_typical_prefers_the_expected_surprise(self):
        # 1.32 bits for the first and 4.06 for the others, where 2.96 are to be expected.
        shares = make_shares(40, *[6] * 10)
        assert tokens_of(keep_typical(shares, 0.3)) == [1, 2, 3, 4, 5]
        assert keep_typical(shares, 1.0) == shares
        assert len(keep_typical(shares, 0.0)) == 1

    def test_typical_gives_back_the_largest_first(self):
        kept = keep_typical(make_shares(50, 20, 15, 10, 5), 0.99)
        assert kept == sorted(kept, key=lambda pair: -pair[1])

    @given(logits_lists, st.floats(0, 1), st.floats(0, 1))
    def test_a_smaller_top_p_keeps_no_more(self, logits, one, other):
        shares = ranked(logits)
        few, many = keep_top_p(shares, min(one, other)), keep_top_p(shares, max(one, other))
        assert set(tokens_of(few)) <= set(tokens_of(many))

    @given(logits_lists, st.floats(0, 1), st.floats(0, 1))
    def test_a_larger_min_p_keeps_no_more(self, logits, one, other):
        shares = ranked(logits)
        few, many = keep_min_p(shares, max(one, other)), keep_min_p(shares, min(one, other))
        assert set(tokens_of(few)) <= set(tokens_of(many))

    def test_are_applied_in_order(self):
        logits = [math.log(weight) for weight in (50, 20, 15, 10, 5)]
        assert tokens_of(filtered(logits, options(top_k=3))) == [0, 1, 2]
        # Of three, 50/85 and 20/85 reach 0.8; of all five they would not.
        assert tokens_of(filtered(logits, options(top_k=3, top_p=0.8))) == [0, 1]
        assert tokens_of(filtered(logits, options(top_p=0.8))) == [0, 1, 2]
        assert tokens_of(filtered(logits, options(min_p=0.35))) == [0, 1]


class TestTemperature:
    @given(logits_lists, st.floats(0.05, 0.95))
    def test_low_sharpens_high_flattens(self, logits, low):
        assume(max(logits) - min(logits) > 0.1)
        shares = ranked(logits)
        assert heated(shares, low)[0][1] >= shares[0][1] - 1e-9
        assert heated(shares, 1 / low)[0][1] <= shares[0][1] + 1e-9

    def test_of_one_changes_nothing(self):
        shares = make_shares(5, 3, 2)
        assert heated(shares, 1.0) == [(token, pytest.approx(share)) for token, share in shares]

    @pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300])
    def test_extremes_stay_finite(self, temperature):
        found = heated(make_shares(5, 3, 2), temperature)
        assert sum(share for _, share in found) == pytest.approx(1.0)

    def test_raises_the_surprise_of_real_text(self, model):
        figures = [Run(model, options(temperature=t)).surprise for t in (0.3, 0.7, 1.0, 1.5)]
        assert figures == sorted(figures)
        assert figures[-1] > figures[0] + 4


class TestDraw:
    def test_follows_the_shares(self):
        rng = random.Random(3)
        drawn = [draw(make_shares(6, 3, 1), rng) for _ in range(3000)]
        assert drawn.count(0) / 3000 == pytest.approx(0.6, abs=0.04)
        assert drawn.count(2) / 3000 == pytest.approx(0.1, abs=0.03)

    def test_a_seed_is_obeyed_and_another_one_differs(self, model):
        assert Run(model, PLAIN, seed=1, count=80).tokens == Run(model, PLAIN, seed=1, count=80).tokens
        assert Run(model, PLAIN, seed=1, count=80).tokens != Run(model, PLAIN, seed=2, count=80).tokens

    def test_rounding_never_leaves_the_dice_without_a_token(self):
        class Highest(random.Random):
            def random(self) -> float:
                return 1.0

        assert draw([(4, 0.6), (9, 0.4 - 1e-9)], Highest()) == 4


class TestMirostat:
    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("tau", [1.5, 2.5, 3.5])
    def test_mean_surprise_comes_near_tau(self, model, version, tau):
        run = Run(model, options(mirostat=version, mirostat_tau=tau), count=1200)
        assert run.surprise == pytest.approx(tau, abs=0.25)

    def test_the_filters_do_not_apply(self, model):
        chosen = options(mirostat=2, mirostat_tau=3.0, top_k=1, temperature=0.4)
        assert Run(model, chosen, count=1200).surprise == pytest.approx(3.0, abs=0.25)

    def test_eta_is_the_speed(self):
        logits = [0.0] * 64
        slow = Sampler(options(mirostat=2, mirostat_tau=3.0, mirostat_eta=0.01), random.Random(1))
        fast = Sampler(options(mirostat=2, mirostat_tau=3.0, mirostat_eta=0.5), random.Random(1))
        slow.sample(logits, [])
        fast.sample(logits, [])
        # Every token has 6 bits: 3 too many.
        assert slow.mu == pytest.approx(6.0 - 0.03)
        assert fast.mu == pytest.approx(6.0 - 1.5)

    def test_version_2_cuts_what_is_too_surprising(self):
        logits = [math.log(weight) for weight in (8, 4, 2, 1, 1)]
        chosen = options(mirostat=2, mirostat_tau=1.0, mirostat_eta=0.0)
        sampler = Sampler(chosen, random.Random(1))
        assert {sampler.sample(logits, []).token for _ in range(200)} == {0, 1}

    def test_keeps_one_where_all_are_too_surprising(self):
        chosen = options(mirostat=2, mirostat_tau=0.0, mirostat_eta=0.0)
        assert Sampler(chosen, random.Random(1)).sample([0.0, 0.1, 0.0], []).token == 1

    def test_mu_never_runs_away(self):
        sampler = Sampler(options(mirostat=2, mirostat_tau=500.0, mirostat_eta=50.0), random.Random(1))
        for _ in range(5):
            sampler.sample([5.0, 0.0], [])
        assert 0.0 <= sampler.mu <= 64.0

    def test_other_numbers_are_off(self):
        assert Sampler(options(mirostat=3, top_k=1), random.Random(1)).sample([0.0, 9.0, 8.9], []).token == 1

    def test_zipf_cut_grows_with_mu(self):
        shares = make_shares(*(1 / rank for rank in range(1, 200)))
        cuts = [zipf_cut(shares, mu) for mu in (0.0, 2.0, 4.0, 8.0, 64.0)]
        assert cuts == sorted(cuts)
        assert cuts[0] == 1 and cuts[-1] == 199

    def test_zipf_cut_of_even_or_single_shares(self):
        assert zipf_cut(make_shares(1, 1, 1), 2.0) == 3
        assert zipf_cut(make_shares(1), 2.0) == 1

    @settings(max_examples=60)
    @given(logits_lists, st.floats(0, 64))
    def test_zipf_cut_is_always_in_range(self, logits, mu):
        shares = ranked(logits)
        assert 1 <= zipf_cut(shares, mu) <= len(shares)


def test_with_the_model_more_than_two_thousand_tokens_per_second(model):
    best = math.inf
    for _ in range(5):
        started = time.process_time()
        Run(model, options(temperature=0.7, top_k=40, top_p=0.9, repeat_penalty=1.1), count=150)
        best = min(best, time.process_time() - started)
    assert best < 150 / 2000
