"""Trials of the paper's experiments against trainings by hand: stop rules, tests, growth, records."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from lstm97 import History, Network, Stop, Topology, train
from lstm97.paper import Experiment, Growth, Stage, StopByTests, adding, experiment, run_trial, select_rows, tasks

ROW = {row.row: row for row in select_rows([])}


def small(lag=15, **changes) -> Experiment:
    return dataclasses.replace(experiment("adding", lag, "linear-output"), test_sequences=100, **changes)


def two_sequences(*, stages, every=100, n_sequences=48, tolerance=0.3, **changes) -> Experiment:
    """The two-sequence problem with a few steps per sequence, and a stop rule with these stages."""
    stop = StopByTests(every=every, n_sequences=n_sequences, tolerance=tolerance, stages=stages)
    return dataclasses.replace(ROW["3a-100-3"], lag=10, test_sequences=0, stop=stop, **changes)


def growing(**changes) -> Experiment:
    """Task 2a with a few symbols; blocks are added one by one."""
    topology = dataclasses.replace(ROW["2a"].topology, n_inputs=7, n_outputs=7, blocks=(1, 2, 1), output_gates=True)
    changes = {"topology": dataclasses.replace(topology, bias="gates"), "lag": 6} | changes
    changes = {"input_gate_bias": (-1.0, -2.0, -3.0), "output_gate_bias": (-0.5, -1.5, -2.5)} | changes
    never = Stop(window=10_000, tolerance=0.0)
    return dataclasses.replace(ROW["2a"], stop=never, growth=Growth(window=50, fall=0.02, n_blocks=2), **changes)


def generators_of(seed):
    """The generators for the initial weights, training, the final test, tests in between, and new blocks."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5)]


def portions(setting, rng, n):
    """The first n training sequences, drawn a thousand at a time: inputs, targets, and how many of them."""
    for begin in range(0, n, 1000):
        if setting.task == "adding":
            drawn = adding(rng, 1000, setting.lag)
        elif setting.task == "two-sequences":
            drawn = tasks.two_sequences(rng, 1000, setting.lag, 3, variant="a")
        else:
            drawn = tasks.long_lag(rng, 1000, setting.lag)
        yield *drawn, min(1000, n - begin)


def trained_by_hand(setting, seed, n):
    """A network trained on n sequences without tests and stop rule, and its errors."""
    initial, drawing, *_ = generators_of(seed)
    biases = {"input_gate_bias": setting.input_gate_bias, "output_gate_bias": setting.output_gate_bias}
    network = Network(setting.topology, seed=initial, init_range=setting.init_range, **biases)
    history = History()
    for inputs, targets, size in portions(setting, drawing, n):
        train(network, inputs, targets, setting.learning_rate, order=np.arange(size), history=history)
    return network, history


# ---- what a seed means ----


@pytest.mark.parametrize(
    "name", ["1-1", "2a", "2b", "2c-50-50", "3a-100-3", "3b-100-1", "3c-100-3", "5-13", "6a", "6b"]
)
def test_same_seed_same_trial_in_every_task(name):
    setting = dataclasses.replace(ROW[name], test_sequences=min(20, ROW[name].test_sequences))
    (network, trial), (other, again) = (run_trial(setting, 7, max_sequences=1100) for _ in range(2))
    assert trial == again
    np.testing.assert_array_equal(network.parameters, other.parameters)
    _, different = run_trial(setting, 8, max_sequences=1100)
    assert different.train_error != trial.train_error
    assert (trial.row, trial.task, trial.lag) == (name, setting.task, setting.lag)
    assert (trial.reading, trial.seed, trial.sequences) == ("literal", 7, 1100)


def test_same_seed_same_trial():
    (network, trial), (other, again) = (run_trial(small(), 7, max_sequences=1200) for _ in range(2))
    assert trial == again
    np.testing.assert_array_equal(network.parameters, other.parameters)
    _, different = run_trial(small(), 8, max_sequences=1200)
    assert (different.steps, different.train_error) != (trial.steps, trial.train_error)


@pytest.mark.parametrize("n", [1, 700, 2300])
@pytest.mark.parametrize("setting", [small(), two_sequences(stages=(Stage(name="never", max_wrong=-1),), every=70)])
def test_a_trial_is_a_training_that_its_tests_and_portions_do_not_disturb(setting, n):
    expected, history = trained_by_hand(setting, 5, n)
    network, trial = run_trial(setting, 5, max_sequences=n)
    np.testing.assert_array_equal(network.parameters, expected.parameters)
    assert (trial.sequences, trial.steps) == (history.sequences, history.steps) == (n, trial.steps)
    recent = setting.stop.window if isinstance(setting.stop, Stop) else 1000
    assert trial.train_error == pytest.approx(history.errors[-recent:].mean(), rel=1e-12)


def test_a_trial_of_the_grammar_presents_training_strings_at_random():
    setting = ROW["1-2"]
    initial, drawing, *_ = generators_of(2)  # the second seed: the second pair of sets
    training, _ = tasks.embedded_reber_sets(np.random.default_rng(1))
    biases = {"output_gate_bias": (-1.0, -2.0, -3.0)}
    network = Network(setting.topology, seed=initial, init_range=0.2, **biases)
    order = np.concatenate([drawing.integers(256, size=1000) for _ in range(2)])[:1700]
    train(network, training.inputs, training.targets, 0.1, order=order)
    found, trial = run_trial(setting, 2, max_sequences=1700)
    np.testing.assert_array_equal(found.parameters, network.parameters)
    assert trial.steps == training.inputs.lengths[order].sum()


# ---- the cap ----


@pytest.mark.parametrize("cap", [1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("name", ["1-1", "3a-100-3", "4-100"])
def test_a_trial_gives_up_at_the_exact_cap(name, cap):
    seen = []
    setting = dataclasses.replace(ROW[name], test_sequences=min(20, ROW[name].test_sequences))
    _, trial = run_trial(setting, 1, max_sequences=cap, callback=seen.append)
    assert not trial.solved
    assert trial.sequences == trial.max_sequences == cap
    assert [progress.sequences for progress in seen] == [*range(1000, cap, 1000), cap]
    assert [progress.max_sequences for progress in seen] == [cap] * len(seen)
    assert seen[-1].steps == trial.steps
    assert seen[-1].error == trial.train_error


def test_the_cap_is_the_experiments_own_by_default():
    _, trial = run_trial(small(max_sequences=130), 1)
    assert (trial.sequences, trial.max_sequences) == (130, 130)


def test_the_cap_changes_nothing_before_it():
    errors = []
    for cap in (1500, 2500):
        run_trial(small(), 2, max_sequences=cap, callback=lambda progress: errors.append(progress.error))
    at_1000, _, again_at_1000, _, _ = errors
    assert at_1000 == again_at_1000


@pytest.mark.parametrize("cap", [0, -1])
def test_run_trial_refuses_a_cap_below_1(cap):
    with pytest.raises(ValueError, match=rf"^max_sequences is {cap}, expected 1 or more$"):
        run_trial(small(), 1, max_sequences=cap)


# ---- stop rules judged by the training sequences ----


def test_the_stop_rule_continues_over_portions_and_ends_at_the_exact_sequence():
    easy = Stop(window=1500, tolerance=100, mean_error=100)
    _, trial = run_trial(small(stop=easy), 3)
    assert trial.solved
    assert trial.sequences == 1500
    _, trial = run_trial(small(stop=easy), 3, max_sequences=1499)
    assert not trial.solved


def test_a_short_lag_is_learned():
    _, trial = run_trial(experiment("adding", 20, "linear-output"), 1)
    assert trial.solved
    assert trial.train_error < 0.01
    assert trial.test_wrong <= 26  # 1 %


@pytest.mark.parametrize("tolerance", [0.5, 100.0])
def test_the_window_is_left_out_of_the_count_on_request(tolerance):
    """With a tolerance of 100 the rule holds with its first window; with 0.5 only later."""
    stop = Stop(window=700, tolerance=tolerance, mean_error=math.inf)
    network, counted = run_trial(small(stop=stop), 3, max_sequences=20_000)
    other, trial = run_trial(small(stop=stop, count_window=False), 3, max_sequences=20_000)
    assert counted.solved
    assert trial.sequences == counted.sequences - 700
    assert (trial.sequences == 0) == (tolerance == 100.0)
    assert dataclasses.replace(trial, sequences=counted.sequences) == counted
    np.testing.assert_array_equal(network.parameters, other.parameters)


def test_the_window_of_a_rule_that_never_held_is_not_left_out():
    _, trial = run_trial(small(count_window=False), 3, max_sequences=2500)
    assert (trial.solved, trial.sequences) == (False, 2500)


# ---- stop rules judged by tests ----


def stages_by_hand(setting, seed, n):
    """Train to each multiple of `every` and test there; returns where each stage is reached, in order."""
    initial, drawing, _, between, _ = generators_of(seed)
    biases = {"input_gate_bias": setting.input_gate_bias, "output_gate_bias": setting.output_gate_bias}
    network = Network(setting.topology, seed=initial, init_range=setting.init_range, **biases)
    stop, done, reached = setting.stop, 0, {}
    for inputs, targets, size in portions(setting, drawing, n):
        # Portions are multiples of the distance between tests.
        for i in range(0, size, stop.every):
            train(network, inputs, targets, setting.learning_rate, order=np.arange(i, i + stop.every))
            done += stop.every
            wrong, errors = 0, []
            while len(errors) < stop.n_sequences and wrong <= stop.stages[len(reached)].max_wrong:
                fresh = min(64, stop.n_sequences - len(errors))
                test, classes = tasks.two_sequences(between, fresh, setting.lag, 3, variant="a")
                off = [
                    abs(target[0] - network.run(x, state=network.new_state())[-1, 0])
                    for x, target in zip(test, classes, strict=True)
                ]
                wrong += sum(error > stop.tolerance for error in off)
                errors += off
            for stage in stop.stages[len(reached) :]:
                if wrong > stage.max_wrong or sum(errors) / len(errors) >= stage.mean_error:
                    break
                reached[stage.name] = done
            if len(reached) == len(stop.stages):
                return network, reached, done
    return network, reached, done


ONE_AFTER_ANOTHER = (
    Stage(name="first", max_wrong=15),
    Stage(name="second", max_wrong=5, mean_error=0.2),
    Stage(name="third", max_wrong=0, mean_error=0.1),
)
NONE_OF_MANY = (
    Stage(name="first", max_wrong=0),
    Stage(name="second", max_wrong=0, mean_error=0.08),
    Stage(name="third", max_wrong=0, mean_error=0.05),
)
AT_ONCE = (Stage(name="first", max_wrong=0), Stage(name="second", max_wrong=40), Stage(name="third", max_wrong=0))


@pytest.mark.parametrize(
    ("stages", "every", "n_sequences"), [(ONE_AFTER_ANOTHER, 10, 48), (NONE_OF_MANY, 20, 400), (AT_ONCE, 100, 48)]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_stages_are_reached_in_order_at_multiples_of_the_distance_between_tests(stages, every, n_sequences, seed):
    setting = two_sequences(stages=stages, every=every, n_sequences=n_sequences)
    expected, reached, done = stages_by_hand(setting, seed, 12_000)
    network, trial = run_trial(setting, seed, max_sequences=12_000)
    assert trial.solved
    assert (trial.stages, list(trial.stages), trial.sequences) == (reached, list(reached), done)
    np.testing.assert_array_equal(network.parameters, expected.parameters)
    counts = list(trial.stages.values())
    assert list(trial.stages) == ["first", "second", "third"]
    assert counts == sorted(counts)
    assert trial.sequences == counts[-1]
    assert all(count % every == 0 for count in counts)
    assert (counts[0] == counts[1] == counts[2]) == (stages is AT_ONCE)


def test_stages_reached_stay_in_the_record_of_a_trial_that_is_not_solved():
    stages = (Stage(name="easy", max_wrong=48), Stage(name="never", max_wrong=48, mean_error=0.0))
    _, trial = run_trial(two_sequences(stages=stages), 1, max_sequences=1250)
    assert (trial.solved, trial.sequences, trial.stages) == (False, 1250, {"easy": 100})


def test_no_test_is_made_before_its_time():
    easy = (Stage(name="easy", max_wrong=48),)
    _, trial = run_trial(two_sequences(stages=easy, every=100), 1, max_sequences=99)
    assert (trial.solved, trial.sequences, trial.stages) == (False, 99, {})
    for every in (100, 1500):
        _, trial = run_trial(two_sequences(stages=easy, every=every), 1, max_sequences=every)
        assert (trial.solved, trial.sequences, trial.stages) == (True, every, {"easy": every})


# ---- growth ----


def grown_by_hand(setting, seed, n):
    """Train one sequence at a time, and compare errors at every multiple of the window."""
    initial, drawing, _, _, growing_rng = generators_of(seed)
    growth, blocks = setting.growth, list(setting.topology.blocks)
    biases = list(zip(setting.input_gate_bias, setting.output_gate_bias, strict=True))
    here = len(blocks) - growth.n_blocks
    network = Network(
        dataclasses.replace(setting.topology, blocks=blocks[:here]),
        seed=initial,
        init_range=setting.init_range,
        input_gate_bias=[bias for bias, _ in biases[:here]],
        output_gate_bias=[bias for _, bias in biases[:here]],
    )
    errors, since, grown, kept = [], 0, [], 0
    for inputs, targets, size in portions(setting, drawing, n):
        for i in range(size):
            errors.append(train(network, inputs, targets, setting.learning_rate, order=[i]).errors[0])
            since += 1
            if here == len(blocks) or since % growth.window or since < 2 * growth.window:
                continue
            latest = np.mean(errors[-growth.window :])
            before = np.mean(errors[-2 * growth.window : -growth.window])
            if latest < (1 - growth.fall) * before:
                kept += 1
                continue
            network = network.with_block(
                blocks[here],
                seed=growing_rng,
                init_range=setting.init_range,
                input_gate_bias=biases[here][0],
                output_gate_bias=biases[here][1],
            )
            here, since = here + 1, 0
            grown.append(len(errors))
    return network, grown, errors, kept


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_block_is_added_when_the_error_has_stopped_falling(seed):
    setting = growing()
    expected, grown, errors, kept = grown_by_hand(setting, seed, 2500)
    network, trial = run_trial(setting, seed, max_sequences=2500)
    assert trial.grown == tuple(grown)
    assert network.topology == setting.topology
    np.testing.assert_array_equal(network.parameters, expected.parameters)
    assert trial.train_error == pytest.approx(np.mean(errors))
    # At other times the error was still falling.
    assert len(grown) == 2
    assert kept > 0
    assert all(count % 50 == 0 for count in grown)
    assert grown[0] >= 100
    assert grown[1] - grown[0] >= 100


def test_a_network_without_any_block_grows_its_first():
    setting = growing(
        topology=dataclasses.replace(ROW["2a"].topology, n_inputs=7, n_outputs=7),
        input_gate_bias=None,
        output_gate_bias=None,
    )
    setting = dataclasses.replace(setting, growth=Growth(window=40, fall=1.0))
    network, trial = run_trial(setting, 1, max_sequences=79)
    assert (trial.grown, network.topology.blocks) == ((), ())
    network, trial = run_trial(setting, 1, max_sequences=80)  # here the error never falls enough
    assert (trial.grown, network.topology.blocks) == ((80,), (1,))
    _, trial = run_trial(setting, 1, max_sequences=300)
    assert trial.grown == (80,)


def test_a_network_whose_error_keeps_falling_does_not_grow():
    setting = dataclasses.replace(growing(), growth=Growth(window=50, fall=-1e9, n_blocks=2))
    network, trial = run_trial(setting, 1, max_sequences=500)
    assert (trial.grown, network.topology.blocks) == ((), (1,))


def test_a_solved_network_does_not_grow_any_more():
    setting = dataclasses.replace(growing(), growth=Growth(window=50, fall=1.0, n_blocks=2))
    for window, grown in ((99, ()), (100, ()), (101, (100,)), (200, (100,)), (201, (100, 200))):
        easy = dataclasses.replace(setting, stop=Stop(window=window, tolerance=100, mean_error=100))
        _, trial = run_trial(easy, 1)
        assert (trial.solved, trial.grown) == (True, grown)


def test_the_window_of_the_stop_rule_continues_when_the_network_grows():
    setting = dataclasses.replace(growing(), growth=Growth(window=50, fall=1.0, n_blocks=2))
    easy = dataclasses.replace(setting, stop=Stop(window=150, tolerance=100, mean_error=100), count_window=True)
    _, trial = run_trial(easy, 1)
    assert (trial.grown, trial.sequences) == ((100,), 150)


# ---- divergence ----


def unbounded(**changes):
    """An experiment with unbounded cell states."""
    setting = small(lag=100)
    topology = Topology(2, 1, blocks=(2, 2), input_squash="identity", output_squash="identity", output="identity")
    return dataclasses.replace(setting, topology=topology, **changes)


def test_a_training_that_diverges_ends_with_a_record():
    # The expected place comes from a training by hand, which raises.
    setting = unbounded(learning_rate=1e3)
    history = History()
    initial, drawing, *_ = generators_of(1)
    network = Network(setting.topology, seed=initial, input_gate_bias=(-3.0, -6.0))
    with pytest.raises(FloatingPointError) as caught:
        train(network, *adding(drawing, 1000, 100), learning_rate=1e3, history=history)
    found, trial = run_trial(setting, 1, max_sequences=5000)
    assert trial.diverged == str(caught.value)
    assert "overflowed" in trial.diverged
    assert not trial.solved
    assert (trial.sequences, trial.steps) == (history.sequences, history.steps)
    assert trial.train_error == pytest.approx(history.errors.mean())
    assert (trial.test_sequences, trial.test_wrong, trial.test_error) == (0, None, None)
    np.testing.assert_array_equal(found.parameters, network.parameters)


def test_a_training_that_diverges_at_its_first_sequence_ends_with_a_record():
    setting = unbounded(init_range=1e100, input_gate_bias=None)
    _, trial = run_trial(setting, 1)
    assert trial.diverged
    assert (trial.solved, trial.sequences, trial.curve, trial.grown, trial.stages) == (False, 0, (), (), {})
    assert trial.train_error is None
    assert trial.test_wrong is None


def test_a_network_that_overflows_when_it_is_tested_between_training_sequences_ends_with_a_record():
    setting = two_sequences(stages=(Stage(name="never", max_wrong=48, mean_error=0.0),), every=1)
    topology = dataclasses.replace(setting.topology, input_squash="identity", output_squash="identity", bias="none")
    setting = dataclasses.replace(setting, topology=topology, input_gate_bias=None, output_gate_bias=None)
    setting = dataclasses.replace(setting, learning_rate=1e200)
    _, trial = run_trial(setting, 1, max_sequences=100)
    assert trial.diverged
    assert (trial.solved, trial.sequences) == (False, 1)


def test_a_network_that_overflows_when_it_is_tested_at_the_end_ends_with_a_record():
    """The last weight change is finite, and too large for the sequences of the test."""
    _, trial = run_trial(unbounded(learning_rate=1e100), 1, max_sequences=1)
    assert trial.diverged
    assert (trial.solved, trial.sequences) == (False, 1)
    assert (trial.test_wrong, trial.test_error) == (None, None)


# ---- the record ----


@pytest.mark.parametrize(("n", "every"), [(1, 1), (39, 1), (40, 1), (41, 2), (79, 2), (81, 3), (1000, 25), (2510, 63)])
def test_points_of_the_curve_are_means_of_consecutive_parts(n, every):
    setting = small()
    _, trial = run_trial(setting, 6, max_sequences=n)
    _, history = trained_by_hand(setting, 6, n)
    parts = [history.errors[begin : begin + every] for begin in range(0, n, every)]
    assert trial.curve_every == every
    assert len(trial.curve) == len(parts) <= 40
    assert trial.curve == pytest.approx([part.mean() for part in parts], rel=5e-4)
    assert sum(map(len, parts)) == n


def test_the_record_counts_what_the_network_gets_wrong():
    setting = small(test_tolerance=0.1)
    network, trial = run_trial(setting, 4, max_sequences=3000)
    inputs, targets = adding(generators_of(4)[2], 100, setting.lag)
    errors = []
    for sequence, target in zip(inputs, targets[:, 0], strict=True):
        network.reset()
        outputs = [network.step(x)[0] for x in sequence]
        errors.append(abs(outputs[-1] - target))
    assert 0 < trial.test_wrong == sum(error > 0.1 for error in errors) < 100
    assert trial.test_error == pytest.approx(np.mean(errors))
    assert trial.test_sequences == 100
    assert (trial.row, trial.task, trial.lag, trial.reading, trial.seed) == ("4-15", "adding", 15, "linear-output", 4)
    assert (trial.diverged, trial.stages, trial.grown) == (None, {}, ())
    assert trial.steps_per_second == trial.steps / trial.train_seconds
    assert trial.seconds > trial.train_seconds + trial.draw_seconds > trial.draw_seconds > 0


def test_a_trial_without_a_test_says_so():
    _, trial = run_trial(small(count_window=False), 4, max_sequences=50)
    assert trial.test_wrong is not None
    _, trial = run_trial(dataclasses.replace(small(), test_sequences=0), 4, max_sequences=50)
    assert (trial.test_sequences, trial.test_wrong, trial.test_error) == (0, None, None)


def test_trials_are_equal_when_all_but_their_times_are():
    _, trial = run_trial(small(), 4, max_sequences=50)
    times = ("seconds", "train_seconds", "draw_seconds", "steps_per_second")
    assert dataclasses.replace(trial, **dict.fromkeys(times, -1.0)) == trial
    for field in dataclasses.fields(trial):
        if field.name not in times:
            assert dataclasses.replace(trial, **{field.name: "other"}) != trial


# ---- callbacks ----


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["1-1", "2a", "6a"])
def test_an_exception_from_the_callback_ends_the_trial(name, error):
    seen = []

    def callback(progress):
        seen.append(progress.sequences)
        if len(seen) == 2:
            raise error("enough")

    with pytest.raises(error, match=r"^enough$"):
        run_trial(ROW[name], 1, max_sequences=5000, callback=callback)
    assert seen == [1000, 2000]


def test_a_floating_point_error_from_the_callback_is_not_taken_for_divergence():
    def callback(progress):
        raise FloatingPointError("in the callback")

    with pytest.raises(FloatingPointError, match=r"^in the callback$"):
        run_trial(small(), 1, max_sequences=50, callback=callback)
