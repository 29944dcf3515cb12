"""A network, its weights, and the states of the streams that run over it."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from itertools import accumulate
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lstm97._advice import Advice
from lstm97._checks import COUNTABLE, integer, not_negative, positive
from lstm97._files import decode, to_bytes, write_whole
from lstm97._format import (
    FORMAT,
    HEADER_LIMIT,
    PHASES,
    STATE,
    UPDATES,
    Contents,
    as_text,
    check_memory,
    learning_text,
    parse,
    read,
    restore_state,
    state_parts,
    state_shapes,
)
from lstm97._kernel import builds
from lstm97._kernel.engine import Engine
from lstm97._kernel.layout import RECORDS, Layout, Record, float_dtype
from lstm97.optimizers import PLAIN, RLS, SGD, Learning, Optimizer, RMSprop, Scaling
from lstm97.sequences import (
    UNREADABLE,
    as_numbers,
    as_resets,
    as_stream,
    as_stream_targets,
    as_weights,
    checked_out,
    copied_if_shared,
    unmasked,
)
from lstm97.topology import GATES, Kind, Loss, Output, Topology

if TYPE_CHECKING:  # numpy.random takes long to import, so it is imported when numbers are drawn
    from numpy.random import BitGenerator, Generator, SeedSequence

Array = NDArray[Any]


KEPT_MEMORY = ("readout.", "scaling.")
"""How the names begin of what a network's outputs depend on, or its readout goes on with, beside the weights."""


class State:
    """Where one stream stands: activations, cell states and partials, zero at first. Made by `Network.new_state`.

    A state belongs to its network: each of the network's calls takes one as ``state=``. Inference on different states
    may go on in several threads at once.
    """

    def __init__(self, network: Network, *, is_own: bool = False) -> None:
        # A network's own state must not keep it: neither would go before the garbage collection finds them.
        self._network: Callable[[], Network | None] = weakref.ref(network) if is_own else lambda: network
        self._layout = network._layout
        self._network_arrays = network._arrays
        self._memory = self._layout.state_places.memory()
        self._engine: Engine = (
            Engine(
                network._kernel,
                self._layout,
                network._arrays,
                self._memory,
                network._lock,
                is_own,
                network._advice,
            )
            if is_own
            else network._engine.another(self._memory)
        )

    @property
    def _arrays(self) -> dict[str, Array]:
        """The arrays, by their names in abi.pxd; made anew, as there may be thousands of states."""
        return {name: array[0] for name, array in self._memory.views.items()}

    def __repr__(self) -> str:
        return f"<State: {self._layout.topology.n_cells} cells, {PHASES[self._engine.numbers()['phase']]}>"

    def __copy__(self) -> State:
        """One more state of the same network, at the same place of its stream."""
        return _state_of(self._living_network(), *self._parts())

    def __reduce__(self) -> tuple[Any, ...]:
        """With its network, as whose state it comes back."""
        network = self._living_network()
        if self is network.state:
            return _own_state, (network,)
        return _state_of, (network, *self._parts())

    def _living_network(self) -> Network:
        network = self._network()
        if network is None:
            raise TypeError("this state's network is gone, so it is neither copied nor pickled")
        return network

    def _parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Everything a state is, for `_put_state`."""
        with self._engine.hold(weights=False, state=True):
            return _parts_of(self)

    def reset(self) -> None:
        """Set activations, cell states and partials to zero; see `Network.reset`."""
        self._engine.reset()

    def assign(self, other: State) -> None:
        """Go on from where another state of the same network is: take over all of it, to the bit.

        Nothing is allocated, and the other state stays as it is: a way to go back to a place of a stream, or to begin
        many streams at one.

        Parameters
        ----------
        other : State
            Of the same network.

        Raises
        ------
        TypeError, ValueError
            If `other` is no state, or one of another network.
        RuntimeError
            If another thread uses one of the two, or trains the network whose own state this is.

        Examples
        --------
        >>> net = Network(Topology(2, 1))
        >>> before = net.new_state()
        >>> before.assign(net.state)
        >>> y = net.learn([0.5, 0.1], None)
        >>> net.state.assign(before)
        >>> bool((net.learn([0.5, 0.1], None) == y).all())
        True
        """
        if not isinstance(other, State):
            raise TypeError(f"other must be a State, got {type(other).__name__}")
        if other._network_arrays is not self._network_arrays:
            raise ValueError("other is a state of another network, whose weights it goes with")
        self._engine.assign(other._engine)

    @property
    def cell_state(self) -> Array:
        """The cell states s_c, shape (n_cells,); a copy."""
        n_cells = self._layout.topology.n_cells
        return self._arrays["s_c"][:n_cells].copy()

    @property
    def activations(self) -> dict[Kind, Array]:
        """The activations of the hidden layer by kind of unit, shape (units,) each; copies."""
        act, lanes = self._arrays["act"], self._layout.lanes
        y_c = self._arrays["y_c"][: self._layout.topology.n_cells]
        kinds = (kind for kind in self._layout.topology.units if kind != "output")
        return {kind: (y_c if kind == "cell" else act[lanes[kind]]).copy() for kind in kinds}

    @property
    def partials(self) -> dict[Kind, Array]:
        """The partials ds_c/dw by the kind of unit the weights lead into, shape (n_cells, sources) each; copies."""
        topology = self._layout.topology
        n_cells = topology.n_cells
        kinds: tuple[Kind, ...] = ("cell", "input_gate", "forget_gate")
        ds_dw = self._settled()
        return {
            kind: ds_dw[: topology.n_sources(kind), i * n_cells : (i + 1) * n_cells].T.copy()
            for i, kind in enumerate(kinds)
            if kind in topology.units
        }

    def _settled(self) -> Array:
        """The partials with all pending steps, as `ds_dw` has them; a copy."""
        ds_dw = self._layout.copy(self._arrays["ds_dw"])
        self._engine.settle(ds_dw, self._layout.copy(self._arrays["coef_block"]))
        return ds_dw


class Weights(dict[Any, Array]):
    """A network's weights by kind of unit, or a learner's by layer: views of its memory.

    Whatever is assigned to a kind goes into its view; so do ``update`` and ``|=``, all kinds or none. Kinds cannot be
    added or taken away.
    """

    def __setitem__(self, kind: Kind, values: ArrayLike) -> None:
        self.update({kind: values})

    def update(self, *others: Any, **kinds: ArrayLike) -> None:
        """Write the values of some kinds; nothing is written if any of them is not as it must be."""
        checked = {kind: self._checked(kind, values) for kind, values in dict(*others, **kinds).items()}
        for kind, array in checked.items():
            self[kind][...] = array

    def __ior__(self, other: Any) -> Weights:  # type: ignore[override,misc]
        self.update(other)
        return self

    def _checked(self, kind: Kind, values: ArrayLike) -> Array:
        """Finite values in the shape and dtype of a kind's weights."""
        if kind not in self:
            raise KeyError(f"there are no weights {kind!r}, but {', '.join(map(repr, self))}")
        view = self[kind]
        name = f"weights[{kind!r}]"
        array = as_numbers(name, values)
        with np.errstate(all="ignore"):
            array = array.astype(view.dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite in {view.dtype}")
        try:
            return np.broadcast_to(array, view.shape)
        except ValueError as error:
            raise ValueError(f"{name} has shape {array.shape}, expected {view.shape}") from error

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("the kinds of weights are those of the topology: none can be added or taken away")

    __delitem__ = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are plain dicts of copied arrays, which belong to no network."""
        return dict, ({kind: view.copy() for kind, view in self.items()},)


class Network:
    """A 1997 LSTM that learns while it runs.

    Its first weights are drawn with ``seed=0`` unless told otherwise: networks made alike are equal, and ``seed=None``
    makes each another. ``init_range=0.1`` is for inputs and targets of about 1 in size: scale larger ones, or take a
    smaller range. Logistic and softmax outputs, which lie between 0 and 1, reach targets there alone.

    Parameters
    ----------
    topology : Topology
        The units and who sees whom.
    dtype : {"float64", "float32"}, default "float64"
        Of weights, states and outputs.
    seed : int, SeedSequence, BitGenerator, Generator or None, default 0
        For the initial weights, as `numpy.random.default_rng` takes it; None draws others each time.
    init_range : float, default 0.1
        Initial weights are uniform in [-init_range, init_range]: drawn in float64 in the order of `weights`, then
        rounded to the dtype.
    input_gate_bias, output_gate_bias, forget_gate_bias : float or sequence of float, optional
        Initial biases of the gates instead of random ones, one for all blocks or one per block. Negative ones for input
        gates counter the drift of cell states, for output gates the abuse of cells; positive ones for forget gates let
        cells remember at first.
    optimizer : SGD, RMSprop or Adam, default SGD()
        How gradients change the weights.
    readout : RLS, optional
        The output weights change by recursive least squares instead, the others by the optimizer. For
        ``output="identity"``.
    scaling : Scaling, optional
        Inputs and targets are standardised inside the network, by their running means and deviations: data may come in
        any units.
    learning_rate : float, default 0.1
        That of `learn`, `learn_run`, `correct` and `train` where they are given none.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or a bias is given to gates that have none.

    Warns
    -----
    UserWarning
        When it learns, once: of targets that its outputs cannot reach, and of large inputs or targets that have most
        cells saturated in the first hundred steps.

    Notes
    -----
    Every step costs time and memory in proportion to the number of weights, however long the stream: the partials of
    the cell states by the weights are carried forward, and the error signals reach no further back than them [1]_::

        s_c(t)         = y_f s_c(t-1) + y_in g(net_c),   y_c = y_out h(s_c)
        ds_c/dw_in(t)  = y_f ds_c/dw_in(t-1) + g(net_c) f'(net_in) z(t)          eq. 25
        ds_c/dw_c(t)   = y_f ds_c/dw_c(t-1)  + y_in g'(net_c) z(t)               eq. 27
        ds_c/dw_f(t)   = y_f ds_c/dw_f(t-1)  + s_c(t-1) f'(net_f) z(t)
        e_s            = y_out h'(s_c) sum_k w_kc e_k                            eq. 23
        change of w    = learning_rate * e_s ds_c/dw                             eq. 26, 28

    with y_f = 1 where there are no forget gates (those are of [2]_).

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000.

    Examples
    --------
    >>> import numpy as np
    >>> net = Network(Topology(n_inputs=3, n_outputs=1, blocks=(2,)), seed=1)
    >>> x = np.array([0.5, -0.5, 1.0])
    >>> before = net.learn(x, [0.9], learning_rate=0.5)
    >>> net.reset()
    >>> abs(0.9 - net.step(x)) < abs(0.9 - before)
    array([ True])
    """

    def __init__(
        self,
        topology: Topology,
        dtype: DTypeLike = "float64",
        seed: int | SeedSequence | BitGenerator | Generator | None = 0,
        init_range: float = 0.1,
        input_gate_bias: ArrayLike | None = None,
        output_gate_bias: ArrayLike | None = None,
        forget_gate_bias: ArrayLike | None = None,
        *,
        optimizer: Optimizer = SGD(),  # noqa: B008 - frozen
        readout: RLS | None = None,
        scaling: Scaling | None = None,
        learning_rate: float = 0.1,
    ) -> None:
        if not isinstance(topology, Topology):
            raise TypeError(f"topology must be a Topology, got {type(topology).__name__}")
        self._topology = topology
        self._dtype = float_dtype(dtype)
        learning = Learning(optimizer, readout, scaling, learning_rate)
        self._learning = _checked_learning(learning, topology, self.dtype)
        is_scaled = scaling is not None and scaling.inputs
        self._advice = Advice(topology.output, topology.n_cells, topology.forget_gates, is_scaled)
        init_range = self._checked_range("init_range", init_range)
        given = zip(GATES, (input_gate_bias, output_gate_bias, forget_gate_bias), strict=True)
        n = topology.n_blocks
        biases = {kind: _gate_biases(kind, bias, topology, self.dtype, n) for kind, bias in given if bias is not None}
        self._layout = Layout(topology, self.dtype, self._learning)
        self._arrays = self._layout.network_arrays()
        self._lock = np.zeros(2, np.int64)
        self._kernel = builds.kernel(self.dtype)
        self._weights = self._layout.weight_views(self._arrays)
        self._state = State(self, is_own=True)
        self._engine = self._state._engine
        rng = np.random.default_rng(seed)
        self.parameters = rng.uniform(-init_range, init_range, topology.n_weights)
        for kind, values in biases.items():
            self._weights[kind][:, -1] = values

    @classmethod
    def for_stream(
        cls,
        n_inputs: int,
        n_outputs: int,
        task: Literal["regression", "classification"] = "regression",
        cells: int = 16,
        *,
        dtype: DTypeLike = "float64",
        seed: int | SeedSequence | BitGenerator | Generator | None = 0,
    ) -> Network:
        """A network that learns from a stream without tuning: data in any units, the default learning rate.

        Blocks of one cell with all three gates, whose inputs the outputs see too; inputs are standardised as they come
        (`Scaling`), and weights change by `RMSprop` with a bound. For a regression the targets are standardised too,
        the loss is Huber's, and the output weights are fitted by `RLS`. The settings are those that did best as one
        setting for all streams of ``python -m benchmarks.learning_rules``.

        Parameters
        ----------
        n_inputs, n_outputs : int
            Outputs are values to predict, or classes: one output for two classes as targets 0 and 1, else one for each
            class.
        task : {"regression", "classification"}
        cells : int, default 16
            The number of memory cells.
        dtype, seed
            As for `Network`.

        Returns
        -------
        Network

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above.

        Examples
        --------
        A value that depends on the input of a step ago, in units of thousands:

        >>> rng = np.random.default_rng(0)
        >>> x = 5000 + 1000 * rng.normal(size=(3000, 1))
        >>> t = np.roll(x, 1, axis=0) / 10
        >>> net = Network.for_stream(1, 1)
        >>> errors = np.abs(net.learn_run(x, t) - t)
        >>> bool(errors[-500:].mean() < 0.3 * np.abs(t - t.mean()).mean())
        True
        """
        if task not in ("regression", "classification"):
            raise ValueError(f"task must be 'regression' or 'classification', got {task!r}")
        is_regression = task == "regression"
        output: Output = "identity" if is_regression else "logistic" if n_outputs == 1 else "softmax"
        loss: Loss = "huber" if is_regression else "cross_entropy"
        topology = Topology(
            n_inputs,
            n_outputs,
            blocks=(1,) * integer("cells", cells, at_least=1),
            forget_gates=True,
            gate_sources=False,
            input_to_output=True,
            input_squash="tanh",
            output_squash="tanh",
            output=output,
            loss=loss,
        )
        return cls(
            topology,
            dtype,
            seed,
            forget_gate_bias=0.0,
            optimizer=RMSprop(bound=0.5),
            readout=RLS(forgetting=0.99) if is_regression else None,
            scaling=Scaling(),
            learning_rate=0.01 if is_regression else 0.05,
        )

    @property
    def topology(self) -> Topology:
        """The units and who sees whom."""
        return self._topology

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of weights, states and outputs: float64 or float32."""
        return self._dtype

    @property
    def optimizer(self) -> Optimizer:
        """How gradients change the weights; `with_optimizer` makes a network with another."""
        return self._learning.optimizer

    @property
    def readout(self) -> RLS | None:
        """How the output weights change, if not by the optimizer."""
        return self._learning.readout

    @property
    def scaling(self) -> Scaling | None:
        """How inputs and targets are scaled inside the network, if they are."""
        return self._learning.scaling

    @property
    def learning_rate(self) -> float:
        """The learning rate of calls that are given none."""
        return self._learning.learning_rate

    @property
    def takes_partial_targets(self) -> bool:
        """Whether a step may have targets for some outputs only: not with softmax, where outputs depend on others."""
        return self._layout.takes_partial_targets

    def _checked_range(self, name: str, value: float) -> float:
        """``value`` as a float, if weights can be drawn from [-value, value]."""
        if (checked := not_negative(name, value)) > float(np.finfo(self.dtype).max) / 2:
            raise ValueError(f"{name} must be finite, and twice its value in {self.dtype} too, got {value!r}")
        return checked

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are the bytes of a file, with the own state; a subclass's become a plain Network."""
        return network_from_bytes, (network_to_bytes(self, True),)

    def __repr__(self) -> str:
        given = {name: value for name, value in self._settings().items() if value != getattr(PLAIN, name)}
        texts = [f"{self.topology.n_weights} weights", str(self.dtype), str(self.topology)]
        return f"<Network: {', '.join([*texts, *(f'{name}={value}' for name, value in given.items())])}>"

    # ---- weights ----

    @property
    def weights(self) -> Weights:
        """The weights by kind of unit, in the order cell, input_gate, output_gate, forget_gate, hidden, output.

        Each is a writable view of shape (units, sources): what is written there is used from the next step on. The
        sources of a hidden-layer unit are, in this order: inputs, hidden units, cells, input gates, output gates,
        forget gates, bias; those of an output: inputs, hidden units, cells, bias; as far as the topology has them. A
        kind the topology lacks has no key. Assigning, ``net.weights["cell"] = values``, writes into the view, as do
        ``net.weights.update(values_by_kind)``, ``|=`` and assigning a mapping to ``net.weights``.
        """
        return Weights(self._weights)

    @weights.setter
    def weights(self, values: Mapping[Kind, ArrayLike]) -> None:
        Weights(self._weights).update(values)

    @property
    def parameters(self) -> Array:
        """All weights as one array, shape (n_weights,), a copy in the order of `weights`; assigning sets them."""
        return np.concatenate([view.ravel() for view in self._weights.values()])

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        array = self._finite("parameters", values, self.topology.n_weights)
        begin = 0
        with self._engine.hold(weights=True, state=False):
            for view in self._weights.values():
                view[...] = array[begin : begin + view.size].reshape(view.shape)
                begin += view.size

    # ---- states ----

    @property
    def state(self) -> State:
        """The network's own state, which calls use that are not given another."""
        return self._state

    def new_state(
        self, cell_state: ArrayLike | None = None, activations: Mapping[Kind, ArrayLike] | None = None
    ) -> State:
        """A state for one more stream over the same weights: zero, or with given cell states and activations.

        Inference goes on from ``new_state(s.cell_state, s.activations)`` to the same bits as from the state `s`.
        Learning starts there with partials of zero.

        Parameters
        ----------
        cell_state : array_like, shape (n_cells,), optional
            The cell states s_c, as `State.cell_state` has them; by default 0.
        activations : mapping of str to array_like, shape (units,) each, optional
            The activations of the step before by kind of unit, as `State.activations` has them; 0 for a kind that is
            left out.

        Returns
        -------
        State

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or has values that are not finite in the network's dtype.

        Examples
        --------
        >>> net = Network(Topology(2, 1, blocks=(2,)))
        >>> Y = net.run([[0.1, 0.2], [0.3, 0.4]])
        >>> state = net.new_state(net.state.cell_state, net.state.activations)
        >>> bool((net.step([0.5, 0.6], state=state) == net.step([0.5, 0.6])).all())
        True
        """
        if activations is not None and not isinstance(activations, Mapping):
            raise TypeError(f"activations must be arrays by kind of unit, got {type(activations).__name__}")
        state = State(self)
        if cell_state is None and activations is None:
            return state
        arrays, lanes, units = state._arrays, self._layout.lanes, self.topology.units
        if cell_state is not None:
            n_cells = self.topology.n_cells
            arrays["s_c"][:n_cells] = self._finite("cell_state", cell_state, n_cells)
        kinds = [kind for kind in units if kind != "output"]
        for kind, values in (activations or {}).items():
            if kind not in kinds:
                raise ValueError(f"activations has {kind!r}; this network has {', '.join(map(repr, kinds))}")
            # Of a cell, the next step reads its output alone: its lane of `act` has g(net_c).
            to = arrays["y_c"][: units[kind]] if kind == "cell" else arrays["act"][lanes[kind]]
            to[...] = self._finite(f"activations[{kind!r}]", values, units[kind])
        return state

    def _finite(self, name: str, values: ArrayLike, n: int) -> Array:
        """An argument as an array of n numbers that are finite in the network's dtype."""
        array = as_numbers(name, values)
        if array.shape != (n,):
            raise ValueError(f"{name} has shape {array.shape}, expected ({n},)")
        with np.errstate(all="ignore"):
            array = array.astype(self.dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite in {self.dtype}")
        return array

    def reset(self, state: State | None = None) -> None:
        """Set a state (by default the network's own) to zero: activations, cell states, partials.

        Raises
        ------
        TypeError, ValueError
            If `state` is no state of this network.
        RuntimeError
            If another thread uses this state or, where it is the network's own, is in `train`.
        """
        self._engine_of(state).reset()

    def _engine_of(self, state: State | None) -> Engine:
        """The engine of a state of this network."""
        if state is None:
            return self._engine
        if not isinstance(state, State):
            raise TypeError(f"state must be a State, got {type(state).__name__}")
        if state._network_arrays is not self._arrays:
            raise ValueError(
                "state belongs to another network; make one with this network's new_state(), or copy one of its states "
                "by copy.copy: copy.deepcopy and pickle copy a state's network with it"
            )
        return state._engine

    # ---- learning ----

    def learn(
        self,
        x: ArrayLike,
        target: ArrayLike | None,
        learning_rate: float | None = None,
        *,
        weight: float = 1.0,
        state: State | None = None,
        out: Array | None = None,
    ) -> Array:
        """One step of a stream; then, if there is a target, the weights change at once.

        Parameters
        ----------
        x : array_like, shape (n_inputs,), or int
            The inputs, or a symbol's number instead of its one-hot row (if there is more than one input).
        target : array_like, shape (n_outputs,), or int, or None
            What the outputs should be, or a class number instead of its one-hot row (if there is more than one output;
            with one output and ``loss="cross_entropy"`` the integers 0 and 1 are its values); None, a row of NaN or of
            masked values, and class -1 mean no error signal; a row partly NaN means none for those outputs (softmax
            outputs need all).
        learning_rate : float, optional
            The paper's alpha, positive; by default the network's own `learning_rate`, which is 0.1 unless it was made
            with another.
        weight : float, default 1.0
            Of the error signal, at least 0: errors count that many times. 0 means no error signal.
        state : State, optional
            Of the stream, by default the network's own.
        out : ndarray, shape (n_outputs,), optional
            Where to write the outputs, of the network's dtype and C-contiguous.

        Returns
        -------
        ndarray, shape (n_outputs,)
            The outputs by the weights before the change: ``out``, or a new array. With `scaling` they are in the units
            of the targets, by the statistics before this target.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above. Nothing has changed then.
        FloatingPointError
            If a cell state, an output or a weight would not be finite. The weights are those before; reset the state.
        RuntimeError
            If another thread trains, saves or copies this network, or uses this state.
        """
        engine = self._engine if state is None else self._engine_of(state)
        return engine.learn(x, target, learning_rate, weight, out)

    def correct(
        self, target: ArrayLike, learning_rate: float | None = None, *, weight: float = 1.0, state: State | None = None
    ) -> None:
        """Deliver the error signal of the last step, a `learn` without target, when its target comes late.

        ``learn(x, None)`` and ``correct(target)`` do to the bit what ``learn(x, target)`` does.

        Parameters
        ----------
        target, learning_rate, weight, state
            As for `learn`.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As for `learn`.
        RuntimeError
            If the last step was not one of `learn` or `learn_run` without target.
        """
        self._engine_of(state).correct(target, learning_rate, weight)

    def learn_run(
        self,
        X: ArrayLike,
        targets: ArrayLike | None,
        learning_rate: float | None = None,
        *,
        weight: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        state: State | None = None,
        out: Array | None = None,
    ) -> Array:
        """A chunk of a stream: as many `learn` calls in one, to the same bits however the stream is cut.

        Parameters
        ----------
        X : array_like, shape (n_steps, n_inputs), or integers of shape (n_steps,)
            The inputs, or symbols.
        targets : array_like, shape (n_steps, n_outputs), or integers of shape (n_steps,), or None
            Targets, or class numbers (as for `learn`; with one output floats of shape (n_steps,) are values);
            rows of NaN or of masked values, and class -1, mean no error signal at that step.
        learning_rate, state
            As for `learn`.
        weight : array_like, shape (n_steps,), optional
            Of the error signals, as for `learn`.
        resets : array_like of bool, shape (n_steps,), optional
            The state is reset before each step for which this is true: a chunk of many sequences one after the other,
            to the same bits as a call for each with `reset` before it.
        out : ndarray, shape (n_steps, n_outputs), optional
            Where to write the outputs; may be over the inputs.

        Returns
        -------
        ndarray, shape (n_steps, n_outputs)
            Each step's outputs by the weights before its change.

        Raises
        ------
        TypeError, ValueError, FloatingPointError, RuntimeError
            As for `learn`.
        """
        inputs = self._stream(X)
        packed = self._stream_targets(targets, len(inputs))
        cuts = as_resets(resets, len(inputs))
        Y = self._output(out, len(inputs))
        if out is not None:
            inputs, packed = copied_if_shared(inputs, Y), None if packed is None else copied_if_shared(packed, Y)
        weights = None if weight is None else as_weights("weight", weight, len(inputs), self.dtype)
        self._engine_of(state).learn_run(inputs, packed, learning_rate, weights, Y, cuts)
        return Y

    # ---- inference ----

    def peek(self, x: ArrayLike, *, state: State | None = None, out: Array | None = None) -> Array:
        """The outputs that a step with these inputs would give, while the stream stays where it is.

        State, partials and pending steps are untouched, to the bit: to predict first and learn from the same
        observation afterwards, call ``peek(x)`` and then ``learn(x, target)``. (After ``step(x)`` the stream has gone
        on to its next step, without learning.)

        Parameters
        ----------
        x, state, out
            As for `learn`.

        Returns
        -------
        ndarray, shape (n_outputs,)
            The outputs; what `step` would return now, and `learn` too, unless `scaling` takes the inputs into its
            statistics first.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `step`.
        FloatingPointError
            If a cell state or an output would not be finite.

        Examples
        --------
        >>> net = Network(Topology(1, 1, output="identity"))
        >>> forecast = net.peek([0.3])
        >>> bool((net.learn([0.3], [0.5]) == forecast).all())
        True
        """
        engine = self._engine if state is None else self._engine_of(state)
        return engine.peek(x, out)

    def step(self, x: ArrayLike, *, state: State | None = None, out: Array | None = None) -> Array:
        """One step of inference: advances the state and drops its partials. `peek` leaves the state where it is.

        Parameters
        ----------
        x, state, out
            As for `learn`.

        Returns
        -------
        ndarray, shape (n_outputs,)
            The outputs.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `learn`.
        FloatingPointError
            If a cell state or an output is not finite; reset the state.
        """
        engine = self._engine if state is None else self._engine_of(state)
        return engine.step(x, out)

    @overload
    def run(
        self,
        X: ArrayLike,
        record: None = None,
        *,
        resets: ArrayLike | None = None,
        state: State | None = None,
        out: Array | None = None,
    ) -> Array: ...
    @overload
    def run(
        self,
        X: ArrayLike,
        record: Iterable[Record],
        *,
        resets: ArrayLike | None = None,
        state: State | None = None,
        out: Array | None = None,
    ) -> tuple[Array, dict[Record, Array]]: ...
    def run(
        self,
        X: ArrayLike,
        record: Iterable[Record] | None = None,
        *,
        resets: ArrayLike | None = None,
        state: State | None = None,
        out: Array | None = None,
    ) -> Array | tuple[Array, dict[Record, Array]]:
        """Inference over many steps of a stream.

        Parameters
        ----------
        X : array_like, shape (n_steps, n_inputs), or integers of shape (n_steps,)
            The inputs, or symbols.
        record : iterable of str, optional
            What to keep of the steps: "cell_state", and the activations "cell", "input_gate", "output_gate",
            "forget_gate", "hidden".
        resets : array_like of bool, shape (n_steps,), optional
            The state is reset before each step for which this is true: many sequences one after the other, to the same
            bits as a call for each with `reset` before it.
        state : State, optional
            Of the stream, by default the network's own.
        out : ndarray, shape (n_steps, n_outputs), optional
            Where to write the outputs; may be over the inputs.

        Returns
        -------
        Y : ndarray, shape (n_steps, n_outputs)
            The outputs.
        seen : dict of str to ndarray, shape (n_steps, units)
            Only if ``record`` is given: what was asked for.

        Raises
        ------
        TypeError, ValueError, FloatingPointError, RuntimeError
            As for `step`.
        """
        engine = self._engine_of(state)
        inputs = self._stream(X)
        cuts = as_resets(resets, len(inputs))
        Y = self._output(out, len(inputs))
        if out is not None:
            inputs = copied_if_shared(inputs, Y)
        if record is None:
            engine.run(inputs, Y, None, cuts)
            return Y
        seen = self._records(record, len(inputs))
        engine.run(inputs, Y, [seen.get(name) for name in RECORDS], cuts)
        return Y, seen

    def _stream(self, X: Any) -> Array:
        """A stream's inputs, checked: an array as the loops need it, else as `as_stream` makes one."""
        return X if self._engine.fits(X, (-1, self._topology.n_inputs)) else as_stream("X", X, self._layout)

    def _stream_targets(self, targets: Any, n_steps: int) -> Array | None:
        """The targets of a stream of n_steps in the same way, or None; warns of targets that cannot be reached."""
        packed: Array | None = targets
        if targets is not None and self._engine.fits(targets, (n_steps, self._topology.n_outputs)):
            self._engine.look_at_targets(targets)
            return packed
        packed = as_stream_targets(targets, n_steps, self._layout)
        if packed is not None and packed.ndim == 2:
            self._advice.look_at_targets(packed)
        return packed

    def _records(self, record: Iterable[Record], n_steps: int) -> dict[Record, Array]:
        """Room for what is to be recorded."""
        units: dict[Any, int] = {**self.topology.units, "cell_state": self.topology.n_cells}
        names = [name for name in RECORDS if units.get(name)]
        if isinstance(record, str):
            raise TypeError(f"record must be a sequence of names such as ({record!r},)")
        asked = list(record)
        for name in asked:
            if name not in names:
                raise ValueError(f"record names {name!r}; this network has {', '.join(map(repr, names))}")
        return {name: np.empty((n_steps, units[name]), self.dtype) for name in asked}

    def _output(self, out: Array | None, n_steps: int) -> Array:
        """Where a run over n_steps writes its outputs."""
        shape = (n_steps, self._topology.n_outputs)
        return np.empty(shape, self._dtype) if out is None else checked_out(out, shape, self._dtype)

    # ---- files ----

    def save(self, path: str | PathLike[str], state: bool | State = False) -> None:
        """Write topology and weights to a safetensors file, which `load` reads.

        Whatever happens meanwhile, the path has the old file or the new one, whole.

        Parameters
        ----------
        path : str or path
            Of the file; one that exists is replaced.
        state : bool or State, default False
            True: the network's own state as well (activations, cell states, partials, pending steps), so that the
            loaded network goes on with the stream to the same bits. Or another of its states, for the same purpose.

        Raises
        ------
        TypeError, ValueError
            If `state` is neither a bool nor a state of this network, the topology has too many blocks for a file, or a
            weight is not finite: no file is written that could not be loaded.
        OSError
            If the file cannot be written.
        RuntimeError
            If another thread trains this network or uses this state. (While it is written, learning is refused in the
            same way.)
        """
        if not isinstance(state, (bool, State)):
            raise TypeError(f"state must be True, False or a State, got {type(state).__name__}")
        write_whole(path, network_to_bytes(self, state))

    # ---- growth ----

    def with_block(
        self,
        size: int = 1,
        *,
        seed: int | SeedSequence | BitGenerator | Generator | None = 0,
        init_range: float = 0.1,
        outgoing_range: float | None = None,
        input_gate_bias: float | None = None,
        output_gate_bias: float | None = None,
        forget_gate_bias: float | None = None,
    ) -> Network:
        """A network with one more memory cell block, the last, and these weights in place; this one stays as it is.

        Parameters
        ----------
        size : int, default 1
            Number of cells of the new block.
        seed : int, SeedSequence, BitGenerator, Generator or None, default 0
            For the new weights.
        init_range : float, default 0.1
            The new weights are uniform in [-init_range, init_range] ...
        outgoing_range : float, optional
            ... or in this range, where they lead from the new block to units that were there before. 0: the outputs
            stay as they are until the new network learns.
        input_gate_bias, output_gate_bias, forget_gate_bias : float, optional
            Initial biases of the new block's gates instead of random ones.

        Returns
        -------
        Network
            Of the same dtype, its state zero.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or a bias is given to gates that have none.
        RuntimeError
            If another thread trains this network.

        Notes
        -----
        The paper's remedy for cells that store what they need not: begin with few, and add a block when the error stops
        falling (sequential construction).

        Examples
        --------
        >>> net = Network(Topology(3, 2, blocks=(2,)))
        >>> net.with_block(1, seed=1).topology.blocks
        (2, 1)
        """
        if outgoing_range is not None:
            outgoing_range = self._checked_range("outgoing_range", outgoing_range)
        init_range = self._checked_range("init_range", init_range)
        topology = replace(self.topology, blocks=(*self.topology.blocks, integer("size", size, at_least=1)))
        given = zip(GATES, (input_gate_bias, output_gate_bias, forget_gate_bias), strict=True)
        biases = {kind: _gate_biases(kind, bias, topology, self.dtype, 1) for kind, bias in given if bias is not None}
        rng = np.random.default_rng(seed)
        grown = Network(topology, self.dtype, rng, init_range, **self._settings())
        for kind, (bias,) in biases.items():
            grown.weights[kind][-1, -1] = bias
        with self._engine.hold(weights=True, state=False):
            for kind, weights in self._weights.items():
                units = grown.weights[kind][: len(weights)]
                if outgoing_range is not None:
                    with np.errstate(all="ignore"):
                        units[...] = rng.uniform(-outgoing_range, outgoing_range, units.shape)
                units[:, _kept(self.topology.sources(kind), topology.sources(kind))] = weights
            move_memory(self, grown)
        return grown

    def with_optimizer(self, optimizer: Optimizer) -> Network:
        """A network with the same weights that learns by another optimizer, without memory yet; this one stays.

        Parameters
        ----------
        optimizer : SGD, RMSprop or Adam

        Returns
        -------
        Network
            Of the same topology and dtype, its state zero; a readout and scaling go on from where they are.

        Raises
        ------
        TypeError, ValueError
            If it is no optimizer, or its epsilon is 0 in the network's dtype.
        RuntimeError
            If another thread trains this network.

        Examples
        --------
        >>> from lstm97 import RMSprop
        >>> net = Network(Topology(3, 2)).with_optimizer(RMSprop(bound=1))
        >>> net.optimizer.decay
        0.999
        """
        other = Network(self.topology, self.dtype, 0, 0.0, **(self._settings() | {"optimizer": optimizer}))
        with self._engine.hold(weights=True, state=False):
            for kind, weights in self._weights.items():
                other.weights[kind][...] = weights
            move_memory(self, other, "readout.", "scaling.")
        return other

    def _settings(self) -> dict[str, Any]:
        """The arguments that tell how the network learns."""
        return _settings_of(self._learning)

    def _memory(self) -> dict[str, Array]:
        """What learning keeps from update to update, by the names in files: views."""
        return self._layout.memory_views(self._arrays)


# ---- files ----


def load(path: str | PathLike[str]) -> Network:
    """Read a network from a file written by `Network.save`, or from a checkpoint of `train`.

    Nothing in the file is executed, and the memory taken is bounded by the size of the file.

    Parameters
    ----------
    path : str or path
        Of the file.

    Returns
    -------
    Network
        With the saved topology, dtype and weights, and the saved state if there is one, else a zero state.

    Raises
    ------
    OSError
        If the file cannot be read.
    TypeError, ValueError
        If `path` is not a path, or the file is not such a file, is damaged, or of a format that this version does not
        know.
    """
    return network_of(read(path), os.fsdecode(path))


def network_to_bytes(
    net: Network, state: bool | State, more: Mapping[str, Array] | None = None, **metadata: str
) -> bytes:
    """A network, and one of its states if asked for, as a file has it; `more` tensors and metadata beside them."""
    header = {"lstm97_format": FORMAT, "topology": as_text(asdict(net.topology)), "dtype": net.dtype.name}
    if net._learning != PLAIN:
        header["learning"] = learning_text(net._learning)
    chosen = net.state if state is True else state
    with net._engine_of(chosen or None).hold(weights=True, state=bool(chosen)):
        views: dict[Any, Array] = {**net.weights, **net._memory()}
        tensors = {str(name): np.array(view, order="C") for name, view in views.items()}
        if UPDATES in tensors:
            np.minimum(tensors[UPDATES], COUNTABLE, out=tensors[UPDATES])  # so many or more: that makes no difference
        if chosen:
            numbers, arrays = _parts_of(chosen)
            header["state"] = as_text(numbers)
            tensors |= {STATE + name: array for name, array in arrays.items()}
    for name in views:
        if not np.isfinite(tensors[name]).all():
            what = f"weights[{name!r}]" if name in net.weights else f"the optimizer's {name}"
            raise ValueError(f"{what} are not all finite, and no file with such weights could be loaded")
    data = to_bytes(tensors | dict(more or {}), header | metadata)
    if int.from_bytes(data[:8], "little") > HEADER_LIMIT:
        raise ValueError(f"a topology of {net.topology.n_blocks} blocks does not fit the header of a file")
    return data


def network_from_bytes(data: bytes) -> Network:
    """The network of `network_to_bytes`."""
    return network_of(parse(io.BytesIO(data), len(data), "the data"), "the data")


def network_of(contents: Contents, what: str) -> Network:
    """The network in the contents of a file."""
    try:
        net = Network(contents.topology, contents.dtype, **_settings_of(contents.learning))
    except ValueError as error:
        raise ValueError(f"{what} has no usable header: {error}") from error
    try:
        net.parameters = np.concatenate([contents.tensors[kind].ravel() for kind in net.weights])
    except ValueError as error:
        raise ValueError(f"{what} has weights that are not finite") from error
    memory = net._memory()
    try:
        check_memory({name: contents.tensors[name] for name in memory})
    except ValueError as error:
        raise ValueError(f"{what} is damaged: {error}") from error
    for name, view in memory.items():
        view[...] = contents.tensors[name]
    net._layout.complete(net._arrays)
    if "state" in contents.metadata:
        try:
            _put_state(net.state, decode(contents.metadata["state"]), contents.group(STATE))
        except ValueError as error:
            raise ValueError(f"{what} is damaged: {error}") from error
    return net


# ---- parts ----


def _checked_learning(learning: Learning, topology: Topology, dtype: np.dtype[Any]) -> Learning:
    """The settings, if a network of this topology and dtype can learn by them."""
    if learning.readout is not None:
        if topology.output != "identity":
            raise ValueError(
                f"readout={learning.readout} needs output='identity', but the outputs are {topology.output}"
            )
        for name, value in (("prior", learning.readout.prior), ("forgetting", learning.readout.forgetting)):
            positive(f"{name} in the network's dtype", dtype.type(value))
    epsilon = getattr(learning.optimizer, "epsilon", None)
    if epsilon is not None and not dtype.type(epsilon) > 0:
        raise ValueError(f"epsilon is {epsilon!r}, which is 0 in {dtype}")
    return learning


def _settings_of(learning: Learning) -> dict[str, Any]:
    """The arguments of a Network that learns in this way."""
    return {field.name: getattr(learning, field.name) for field in fields(learning)}


def kept_of(net: Network) -> Array:
    """What a network is kept by as the best so far, flat: weights, then what its readout and its scaling keep."""
    memory = (view.ravel() for name, view in net._memory().items() if name.startswith(KEPT_MEMORY))
    return np.concatenate([net.parameters, *memory])


def parted(net: Network, kept: Array) -> tuple[Array, dict[str, Array]]:
    """The weights, and all that learning keeps, that a network has once it is as `kept_of` has found it."""
    begin = net.topology.n_weights
    memory = dict(net._memory())
    for name, view in memory.items():
        if name.startswith(KEPT_MEMORY):
            memory[name] = kept[begin : begin + view.size].reshape(view.shape).astype(view.dtype)
            begin += view.size
    return kept[: net.topology.n_weights].astype(net.dtype), memory


def put_kept(net: Network, kept: Array) -> None:
    """Let a network be again as `kept_of` has found it; what its optimizer keeps stays."""
    net.parameters, memory = parted(net, kept)
    for name, view in net._memory().items():
        view[...] = memory[name]
    net._layout.complete(net._arrays)


def move_memory(before: Network, now: Network, *prefixes: str) -> None:
    """Write what learning has kept into a network that has all units of the one before, and those in their order."""
    new = now._memory()
    for name, view in before._memory().items():
        if prefixes and not name.startswith(prefixes):
            continue
        kind: Any = name.rpartition(".")[2] if name.startswith("memory.") else "output"
        if name.startswith("scaling.") or name == UPDATES:
            new[name][...] = view
            continue
        kept = _kept(before.topology.sources(kind), now.topology.sources(kind))
        rows = kept if name == "readout.root" else range(len(view))
        new[name][np.ix_(rows, kept)] = view
    now._layout.complete(now._arrays)


def _gate_biases(kind: Kind, bias: ArrayLike, topology: Topology, dtype: np.dtype[Any], n: int) -> Array:
    """The biases of n gates of a kind, checked: one for all of them or one each."""
    name = f"{kind}_bias"
    if kind not in topology.units:
        raise ValueError(f"{name} is given but the topology has no {kind.replace('_', ' ')}s")
    if not topology.has_bias(kind):
        raise ValueError(f"{name} is given but the gates have no bias; use a topology with bias other than 'none'")
    bias = unmasked(name, bias)
    try:
        values = np.asarray(bias)
    except UNREADABLE as error:
        raise TypeError(f"{name} must be a number or one per block, got {bias!r}") from error
    if values.dtype.kind not in "buif":
        raise TypeError(f"{name} must be a number or one per block, got {bias!r}")
    if values.shape not in ((), (n,)):
        raise ValueError(f"{name} has shape {values.shape}, expected a number or shape ({n},)")
    with np.errstate(all="ignore"):
        values = values.astype(np.float64)
        rounded = values.astype(dtype)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {bias!r}")
    if np.abs(values).max(initial=0) > float(np.finfo(dtype).max):
        raise ValueError(f"{name} is {bias!r}, which {dtype} can't hold")
    return np.broadcast_to(rounded, (n,))


def _kept(before: dict[str, int], now: dict[str, int]) -> list[int]:
    """Where the sources that units had before stand among those they have now: the new ones of a kind come last."""
    begins = accumulate(now.values(), initial=0)
    return [begin + i for begin, kind in zip(begins, now, strict=False) for i in range(before.get(kind, 0))]


def _own_state(network: Network) -> State:
    """A network's own state, copied or pickled with it; should it come alone, it keeps its network."""
    state = network.state
    state._network = lambda: network
    return state


def _state_of(network: Network, numbers: dict[str, Any], parts: dict[str, Array]) -> State:
    """A state of a network, from its parts: what a copied or pickled state is made with."""
    state = network.new_state()
    _put_state(state, numbers, parts)
    return state


def state_of(network: Network, phase: str, parts: Mapping[str, Array], seen: NDArray[np.int32]) -> State:
    """A state of a network without pending steps; what of `state_parts` is not given is 0, or nothing."""
    empty = {
        name: np.zeros([0 if n is None else n for n in part.shape], part.dtype)
        for name, part in state_shapes(network._layout).items()
    }
    numbers = {"phase": phase, "symbol": None, "symbols_only": True, "partials_bound": "inf"}
    return _state_of(network, numbers, empty | dict(parts) | {"inputs_seen": seen})


def _parts_of(state: State) -> tuple[dict[str, Any], dict[str, Array]]:
    """Numbers and arrays of a state, for one who holds it."""
    return state_parts(state._layout, state._arrays, state._engine.numbers())


def _put_state(state: State, numbers: dict[str, Any], parts: dict[str, Array]) -> None:
    """Set a state to what `_parts_of` gave; ValueError if that can't be a state."""
    state._engine.set_numbers(**restore_state(state._layout, state._arrays, numbers, parts))
