"""Ways to call `train_many`, and its expected results: those of `train`, called for one network after the other."""

from __future__ import annotations

import copy
import itertools

import numpy as np

from lstm97 import RLS, SGD, Adam, Network, RMSprop, Scaling, Stop, Topology, train, train_many
from lstm97.network import network_to_bytes

REAL = Topology(2, 1, blocks=(2, 1), output="identity")


SYMBOLIC = Topology(5, 3, blocks=(2,), forget_gates=True, output="softmax")


def reals(n, seed):
    """Sequences of different lengths with one target each."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (length, 2)) for length in rng.integers(1, 9, n)], rng.uniform(-1, 1, (n, 1))


def symbols(n, seed):
    """Symbols with a class or none (-1) at every step."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, n)
    return [rng.integers(5, size=k) for k in lengths], [rng.integers(-1, 3, size=k) for k in lengths]


def steps(n, seed):
    """Sequences of one length with targets at some steps."""
    rng = np.random.default_rng(seed)
    targets = rng.uniform(-1, 1, (n, 6, 1))
    targets[:, ::2] = np.nan
    return rng.uniform(-1, 1, (n, 6, 2)), targets


RULES = (
    {"optimizer": Adam(bound=0.5), "readout": RLS(forgetting=0.99), "scaling": Scaling(decay=0.9)},
    {"optimizer": RMSprop()},
    {"scaling": Scaling()},
    {"optimizer": SGD(momentum=0.5)},
    {},
)
"""What learning keeps from update to update, of the networks of one case."""


def networks(n, topology=REAL, dtypes=("float64", "float32"), rules=({},)):
    return [Network(topology, dtypes[i % len(dtypes)], seed=i, **rules[i % len(rules)]) for i in range(n)]


def with_memory(n):
    """Networks of all rules, which have learned something."""
    nets = networks(n, rules=RULES)
    for net in nets:
        train(net, *reals(7, 9))
    return nets


def generators(n):
    kinds = (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM)
    return [np.random.Generator(kind(i)) for i, kind in zip(range(n), itertools.cycle(kinds), strict=False)]


CASES = {
    "shared": (REAL, reals(30, 1), {"epochs": 2}),
    "own": (REAL, [reals(10 + i, i) for i in range(5)], {"learning_rate": 0.1}),
    "per step": (REAL, steps(20, 2), {"order": [3, 3, 0, 19]}),
    "classes per step": (SYMBOLIC, symbols(40, 3), {"epochs": 2, "learning_rate": np.float32(0.3)}),
    "generators": (REAL, reals(30, 4), {"epochs": 3, "order": generators(5)}),
    "stopped": (REAL, reals(30, 4), {"epochs": 9, "stop": Stop(45, 9.0, 9.0), "order": generators(5)}),
    "not stopped": (REAL, reals(30, 4), {"epochs": 2, "stop": Stop(50, 0.0, 0.0)}),
    "batches": (SYMBOLIC, symbols(33, 5), {"update": "sequence", "batch_size": 8, "epochs": 2}),
    "with memory": (REAL, reals(30, 1), {"epochs": 2}),
    "no epochs": (REAL, reals(3, 6), {"epochs": 0, "order": generators(5)}),
}


def standing(net, history, generator=None):
    """Everything in a network, what learning keeps included, its history and its generator, except the time."""
    window = history._window and {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in vars(history._window).items()
    }
    return (
        net.parameters.dtype,
        network_to_bytes(net, False),
        (history.sequences, history.steps, history.epochs, history.stopped, history.errors.tobytes()),
        window,
        generator and str(generator.bit_generator.state),
    )


def generator_of(options, i):
    """The generator from which network i draws its orders, or None."""
    order = options.get("order")
    return order[i] if order and isinstance(order[0], np.random.Generator) else None


def assert_as_alone(case, **where):
    topology, data, options = copy.deepcopy(CASES[case])
    alone_options = copy.deepcopy(options)
    nets, alone = (with_memory(5) if case == "with memory" else networks(5, topology) for _ in range(2))
    expected = []
    for i, net in enumerate(alone):
        generator = generator_of(alone_options, i)
        how = alone_options | ({} if generator is None else {"order": generator})
        history = train(net, *(data if isinstance(data, tuple) else data[i]), **how)
        expected.append(standing(net, history, generator))
    histories = train_many(nets, data, **options, **where)
    pairs = zip(nets, histories, strict=True)
    assert [standing(*pair, generator_of(options, i)) for i, pair in enumerate(pairs)] == expected
    assert any(history.seconds > 0 for history in histories) == (options.get("epochs") != 0)
