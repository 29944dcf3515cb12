# What `_core` (the loops) agrees on with `engine` and `trainer` (the calls): the structs they share and the table of
# functions that every build of the loops exports. `real` is float or double, the same for all arrays of a network, so
# the structs hold pointers to it and never a value. Symbols are those of the paper; shapes are those of `layout.py`.

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "_kernel/lanes.h" nogil:
    ctypedef double real
    ctypedef int64_t word   # a signed integer as wide as a real

cdef extern from "_kernel/team.h" nogil:
    enum:
        CACHE_GAP
    ctypedef struct Waiter:
        void *wake_lock
    ctypedef struct Team:
        int64_t n_tasks, n_threads
        Waiter *waiters

cdef enum Status:       # cython_api.pxd gives these numbers to others
    OK = 0
    CELL_STATE_NOT_FINITE = 1
    OUTPUT_NOT_FINITE = 2
    CHANGE_NOT_FINITE = 3

cdef enum OutputKind:
    LOGISTIC = 0
    IDENTITY = 1
    SOFTMAX = 2

cdef enum LossKind:
    SQUARED = 0
    CROSS_ENTROPY = 1
    HUBER = 2

cdef enum RuleKind:     # how gradients change the weights; the order of `layout.RULES`
    PLAIN = 0           # SGD without momentum and bound: the paper's rule, in one pass over weights and partials
    BOUNDED = 1         # SGD with a bound, without momentum
    MOMENTUM = 2        # SGD with momentum
    RMSPROP = 3
    ADAM = 4

cdef enum:               # what is kept of each input and target that is scaled; the order of `layout.STATISTICS`
    COUNT = 0
    MEAN = 1
    SQUARES = 2         # the sum of squared differences from the mean
    DEVIATION = 3       # the root of SQUARES / COUNT
    N_STATISTICS = 4

cdef enum SquashConstant:   # rows of the constants of squashing functions; what they mean: layout.py
    SCALE
    SCALE_BY_LN2
    ONE_BY_SCALE
    PLUS
    MINUS
    C0
    C1
    C2
    N_SQUASH_CONSTANTS

cdef enum:                  # what inference may record of each step; the order of `layout.RECORDS`
    CELL_STATE_RECORD
    CELL_RECORD
    INPUT_GATE_RECORD
    OUTPUT_GATE_RECORD
    FORGET_GATE_RECORD
    HIDDEN_RECORD
    N_RECORDS

cdef enum Phase:        # what the state's last step was
    NOT_LEARNING = 0    # none since reset, or one of inference: the partials are zero
    AWAITING = 1        # a learn step without error signal: `correct` may deliver it
    CORRECTED = 2       # a learn step with its error signal

cdef struct Shape:              # the sizes of a network, by the names of `Layout.sizes`
    Py_ssize_t n_inputs, n_hidden, n_cells, n_blocks, n_outputs
    Py_ssize_t n_sources        # rows of w: inputs, recurrent sources, bias if any unit of the hidden layer has one
    Py_ssize_t n_lanes          # row length of w: hidden units, cells, input, output, forget gates, padding
    Py_ssize_t n_units          # lanes of w in use
    Py_ssize_t n_cell_lanes     # n_cells, padded
    Py_ssize_t n_block          # steps until the partials are settled, if no error signal comes
    Py_ssize_t n_change_lanes   # row length of dw: that of w and a vector to reach into
    Py_ssize_t n_partials       # row length of ds_dw: cells by w_c, by w_in, by w_f, padding
    Py_ssize_t n_out_sources    # rows of w_out: inputs if seen, hidden units, cells, bias if any
    Py_ssize_t n_out_lanes      # row length of w_out: outputs, padding
    # lanes of dw where it sums a batch's changes: kinds whose errors come by the cell states, then those without
    Py_ssize_t n_carried        # cells, input gates, forget gates, padding
    Py_ssize_t n_direct         # hidden units, output gates, padding
    # where a kind's lanes begin; -1: the topology lacks it
    Py_ssize_t lane_cell, lane_in, lane_out, lane_forget
    Py_ssize_t bias_source      # the bias row of w, or -1
    Py_ssize_t rows_together    # rows of w that an error signal changes as a group, one kind of unit after the other
    Py_ssize_t largest_block    # cells of the largest block, for small networks
    # flags
    bint recurrent, gate_sources, input_to_output, output_bias
    bint single_cells           # every block has one cell
    Py_ssize_t block_size       # cells of every block, or 0 if blocks differ
    bint looks_ahead            # so it may: single cells with output gates, no hidden units, all with a bias or none
    bint g_is_identity, h_is_identity
    int output                  # an OutputKind
    int loss                    # a LossKind

cdef struct Rule:               # an optimizer: how the gradients of an update change the weights
    int kind                    # a RuleKind
    double momentum             # SGD's, or Adam's beta1
    double decay                # RMSprop's, or Adam's beta2
    double epsilon
    double bound                # 0: none
    int64_t *n_updates          # (1,) the network's updates so far
    # a number for each weight; NULL if the rule has no such memory
    real *m                     # (n_sources, n_lanes) sum of the gradients, earlier ones counting less
    real *m_out                 # (n_out_sources, n_out_lanes)
    real *v                     # (n_sources, n_lanes) the same of their squares
    real *v_out                 # (n_out_sources, n_out_lanes)

cdef struct Readout:            # output weights by recursive least squares
    real *root                  # (n_out_sources, n_root_lanes) S, of which P = S S'; NULL: the rule changes them
    Py_ssize_t n_root_lanes     # row length
    double forgetting
    double prior                # the diagonal of P at first, and at most

cdef struct Standards:          # running statistics, by which inputs and targets are scaled
    double *inputs              # (n_inputs, N_STATISTICS); NULL: not scaled
    double *targets             # (n_outputs, N_STATISTICS); NULL: not scaled
    double decay                # of what came before, at each observation

cdef struct Update:             # one change of the weights by a rule that is not PLAIN
    double rate
    double m_correction         # 1 / (1 - beta1^t)
    double v_correction         # 1 / (1 - decay^t)
    double scale                # 1 / M, or 1 where the bound allows more

cdef struct Net:
    Shape shape
    # constants; lane_of to is_summed are used for small networks only
    const int32_t *block_of     # (n_cells,) each cell's block
    const word *lane_of         # (4, ROW_LANES) lanes of each cell and of its gates: input, output, forget
    const word *cell_of         # (n_partials,) the cell of each partial
    const real *is_partial      # (3, n_partials) 1 for partials by w_c, by w_in, by w_f, else 0
    const word *sum_of          # (largest_block, n_lanes) lanes of the partials whose products are summed for a unit
    const real *is_summed       # (largest_block, n_lanes) 1 where `sum_of` names a partial, else 0
    const real *is_continued    # (n_cells,) 0 for the first cell of a block, 1 for the others
    const real *squash          # (8, n_lanes) squashing constants of the hidden layer's units
    const real *squash_h        # (8, ROW_LANES) those of h
    const real *squash_g        # (8, ROW_LANES) those of g
    const real *logistic        # (8, ROW_LANES) those of logistic outputs
    const real *is_g            # (n_lanes,) 1 in the cells' lanes
    const real *is_cell         # (n_cells padded,) 1 for a cell, 0 for padding
    const real *is_output       # (n_out_lanes,) 1 for an output, 0 for padding
    const real *has_bias        # (n_lanes,) 1 for units with bias
    # weights
    real *w                     # (n_sources, n_lanes)
    real *w_out                 # (n_out_sources, n_out_lanes)
    # how they change
    Rule rule
    Readout readout
    Standards standards

cdef struct State:
    # what goes on from step to step
    real *act                   # (n_lanes,) y_i, g(net_c), y_in, y_out, y_f of the last step
    real *y_c                   # (n_cells padded,)
    real *s_c                   # (n_cells padded,)
    real *ds_dw                 # (n_sources, n_partials)
    # steps that the partials do not contain yet: ds_dw = decay ds_dw + coef z_m, step by step
    real *z_block               # (n_block, n_z), rows of z; without the inputs if all are symbols
    Py_ssize_t n_z              # row length
    real *coef_block            # (n_block, n_partials)
    real *decay_block           # (n_block, n_partials) y_f
    int32_t *symbols            # (n_block,)
    Py_ssize_t n_pending
    double partials_bound       # no partial in ds_dw is larger in magnitude; NaN or infinity: unknown
    bint dense                  # z_block has the inputs
    # the last step, for its error signal
    real *z                     # (n_sources,) in z_block
    real *h                     # (n_cells padded,) h(s_c)
    real *y                     # (n_out_lanes,)
    # scratch
    real *s_before              # (n_cells padded,) s_c(t-1)
    real *gates                 # (3, n_cells padded) y_in, y_out, y_f of each cell's block
    real *decay                 # (n_partials,) product of the pending steps' y_f
    real *target                # (n_out_lanes,) as given, then scaled; NaN: not given
    double weight               # of the error signal
    bint is_partial             # the target is not given for some outputs
    real *e_k                   # (n_out_lanes,) alpha e_k
    real *eps                   # (n_hidden + n_cells padded,) sum_k w_ku alpha e_k
    real *e                     # (n_lanes,) alpha e_i and alpha e_out in their units' lanes, else 0
    real *sums                  # (rows_together, n_cells padded) alpha e_s ds_dw summed over each block's cells; then 0
    real *e_s                   # (n_cells padded,) alpha e_s
    real *g                     # (n_sources or rows_together, n_change_lanes) gradients, then changes
    real *g_out                 # (n_out_sources, n_out_lanes)
    real *gain                  # (2, n_root_lanes) S'u and S S'u, for a Readout
    # what a change of the weights has computed of the next step, in networks that look ahead
    real *net_in                # (n_lanes,) its net inputs
    bint is_ahead               # they are in net_in
    # rows of ds_dw that may be nonzero: those of the recurrent sources and the bias, then every input seen
    int32_t *rows               # (n_sources,)
    uint8_t *is_listed          # (n_sources,)
    Py_ssize_t n_rows
    Py_ssize_t symbol           # the last step's input as a symbol, or -1
    int phase                   # a Phase

cdef struct Chunk:              # consecutive steps of a stream, or many sequences one after the other
    const real *values          # (n_steps, n_inputs) inputs; NULL if they are symbols
    const int32_t *symbols      # (n_steps,) inputs as symbols; NULL if they are values
    const real *targets         # (n_steps, n_outputs), NaN: not given; or NULL
    const int32_t *classes      # (n_steps,) targets as class numbers, -1: none; or NULL
    const double *weights       # (n_steps,) of the error signals; or NULL: 1
    bint target_per_sequence    # targets, classes and weights have one row per sequence, for its last step

cdef struct Report:             # how a call over steps ended
    int status
    Py_ssize_t step             # the last step; if status is not OK, the step that failed

cdef struct StopRule:
    Py_ssize_t window, max_wrong
    double tolerance, mean_error
    double *errors              # (window,) ring: mean |t - y| of the latest sequences
    uint8_t *wrong              # (window,) ring
    Py_ssize_t n_seen           # sequences with an error signal so far
    Py_ssize_t n_wrong          # ones in `wrong`
    double error_sum            # the sum of `errors` in the window
    double error_rest           # what rounding has dropped from error_sum

cdef struct Tally:              # the error signals of a sequence
    Py_ssize_t n_signals
    Py_ssize_t last_step        # the last signal's, in batches
    Py_ssize_t n_values         # outputs that had a target, over all signals
    double error_sum            # of |t - y| over signals and outputs
    double error_max

cdef struct Request:            # what is asked for in a portion of a job (see team.h)
    const int64_t *offsets      # (n_sequences + 1,)
    const int64_t *order        # (n_order,) sequence numbers
    Py_ssize_t n_order
    double learning_rate
    const double *learning_rates  # (n_order,) of each position in the order, instead of learning_rate; or NULL
    double *errors              # (n_order,) mean |t - y| over a sequence's error signals and outputs, NaN without any
    StopRule *rule              # or NULL

cdef struct Outcome:            # how far a portion came
    Py_ssize_t position         # in the order: sequences done
    Py_ssize_t n_steps          # steps done in all
    bint stopped                # the stop rule held
    int status                  # OK, or the Status with which training failed
    Py_ssize_t sequence         # if training failed: the sequence in which it did
    Py_ssize_t step             # if training failed: the step of that sequence
    # Where weights change by the step, `step` also counts the steps done of the sequence at `position`.
    Tally tally                 # where weights change by the step: of the sequence at `position`

cdef struct Portion:            # the part of a job that one call of `Trainer.train` does
    Request request
    Outcome outcome

cdef struct Member:             # one of the sequences of a share that step together
    State st
    Py_ssize_t position         # in the order
    bint settled                # st.ds_dw may be nonzero
    Tally tally
    # the error signals among the pending steps
    Py_ssize_t n_signals
    int32_t *signals            # (n_block,) at which of the pending steps
    real *e_s                   # (n_block, n_cells padded) alpha e_s
    real *e                     # (n_block, n_direct) alpha e_i and alpha e_out

cdef struct Sums:               # sums of changes of the weights
    real *dw                    # (n_sources, n_change_lanes)
    real *dw_out                # as w_out
    double e_squares            # sum of e_k^2 over the error signals
    # inputs seen as symbols
    int32_t *symbols            # (n_inputs,)
    uint8_t *is_listed          # (n_inputs,)
    Py_ssize_t n_symbols
    # how the share went, once it is done
    Report report
    Py_ssize_t sequence
    Py_ssize_t n_steps
    char[CACHE_GAP] gap         # between these sums and the next

cdef struct Streams:            # many streams over one network, in groups: a lane for each stream of a group
    Py_ssize_t n_streams
    Py_ssize_t n_groups
    Py_ssize_t width            # lanes of a group: whole vectors in every build
    Py_ssize_t n_partials       # rows of partials of a source, without padding
    int64_t *at                 # (n_streams,) the row of the chunk that each stream takes; NULL: its own number's
    # what goes on from step to step, group after group
    real *act                   # (n_groups, n_units, width)
    real *y_c                   # (n_groups, n_cells, width)
    real *s_c                   # (n_groups, n_cells, width)
    real *ds_dw                 # (n_groups, n_sources, n_partials, width); NULL until the streams learn
    uint8_t *phase              # (n_streams,) each a Phase
    uint8_t *has_partials       # (n_groups,) partials may be nonzero
    # inputs seen by learning streams since their reset: their partials may be nonzero
    uint8_t *seen               # (n_groups, n_inputs, width) 1: by this stream
    int32_t *n_seen             # (n_groups, n_inputs) by how many of the group's streams
    int32_t *rows               # (n_groups, n_inputs) inputs seen by any of the group's streams
    int64_t *n_rows             # (n_groups,) how many those are
    # scratch for one group
    real *present               # (width,) 1 for streams that take part in the step, else 0
    bint is_full                # all lanes do
    real *z                     # (n_sources, width)
    real *new_act               # (n_units, width)
    real *new_y_c               # (n_cells, width)
    real *new_s_c               # (n_cells, width)
    real *h                     # (n_cells, width)
    real *y                     # (n_outputs, width)
    real *target                # (n_outputs, width)
    real *weight                # (width,) of the error signals
    real *e_k                   # (n_outputs, width)
    real *e                     # (n_hidden + n_blocks, width) alpha e_i, alpha e_out
    real *e_s                   # (n_cells, width)
    real *coef                  # (n_partials, width)
    real *decay                 # (n_cells, width) y_f
    # of a call that learns
    double *statistics_before   # (n_outputs, N_STATISTICS) of the targets, before the call
    Sums total                  # over all streams
    # of a call that learns, for a Readout, which takes the error signals one after the other
    real *sources               # (n_streams, n_root_lanes) of the outputs
    real *signals               # (n_streams, n_outputs) targets, scaled; NaN: not given
    real *weights               # (n_streams,) of the error signals; 0: none
    real *gain                  # (2, n_root_lanes)
    real *error                 # (n_out_lanes,)

cdef struct Abreast:            # the sequences of a share that step abreast, a lane for each: in small networks
    Streams st                  # one group, or width 0: they never do; its z, coef, decay, e, e_s are of a step below
    # of each pending step
    real *z                     # (n_block, n_sources, width)
    real *coef                  # (n_block, n_partials, width); then delta, what each adds to row m of dw, over z_m
    real *decay                 # (n_block, n_cells, width) y_f
    # the error signals among them
    Py_ssize_t n_signals
    int32_t *signals            # (n_block,) at which of the pending steps
    real *e                     # (n_block, n_hidden + n_blocks, width) alpha e_i, alpha e_out
    real *e_s                   # (n_block, n_cells, width) alpha e_s
    real *carried               # (n_cells, width) alpha e_s carried back to a step

cdef struct Worker:             # what a thread of a team works with, and how far it came
    Waiter *waiter
    bint is_busy                # the worker has claimed a task and not finished it
    int64_t task                # the number of that task in the round
    bint has_failed             # a weight would not be finite, in the rows summed up
    # a share of a batch
    Py_ssize_t n_together       # sequences that can step together
    Py_ssize_t n_block          # steps until their errors are carried back and their partials settled
    Py_ssize_t stride           # reals from an array of a member to the same array of the next member
    Member *members             # (n_together,)
    real *e_s                   # (n_cells padded,) alpha e_s carried back to a step
    real *delta                 # (n_block, n_change_lanes) what each step adds to row m of dw, divided by z_m
    Abreast abreast
    bint is_abreast             # the present members step abreast
    Sums *sums                  # the share's
    Report report
    Py_ssize_t sequence         # if the report's status is not OK: the sequence that failed
    Py_ssize_t n_steps          # steps done of the share
    Py_ssize_t n_steps_in_round  # steps of the shares that this worker has done in this round
    Py_ssize_t begin            # where in the schedule the members begin
    Py_ssize_t end              # where in the schedule the share ends
    Py_ssize_t n_members        # sequences that step together now; 0: none yet
    Py_ssize_t step             # steps that the members have done
    Py_ssize_t n_active         # members that have further steps
    Py_ssize_t n_pending        # steps of the present block
    Py_ssize_t n_open           # members that took part in the present block
    Py_ssize_t n_closed         # members whose errors have been carried back through the present block
    # Hogwild: a sequence
    State *st
    Py_ssize_t position         # in the order, or -1: none yet
    Tally tally
    char[CACHE_GAP] gap         # between this worker and the next

cdef struct Batch:              # training in batches: each is cut into shares, and a round trains some of them
    Py_ssize_t size             # sequences whose changes are summed; the last batch may have fewer
    const int64_t *schedule     # (n_order,) positions in the order, batch after batch, share after share
    const int64_t *bounds       # (shares of all batches + 1,) where shares begin in the schedule
    Tally *tallies              # (size,) one for each sequence of the batch, by its position in the order
    Py_ssize_t n_sums           # shares of a round, at the most
    Sums *sums                  # (n_sums,) of each share of the round
    Sums total                  # of the batch so far; also of the share, where a batch has only one
    Update update               # of the weights by the batch, for rules not PLAIN
    double *row_squares         # (rows of w and w_out,) each row's part of M, times bound and e_squares
    Py_ssize_t n_sequences      # of the present batch; 0: none yet
    Py_ssize_t n_shares         # of the present batch
    Py_ssize_t bounds_index     # index in `bounds` of the present batch's first share
    Py_ssize_t first_share      # of the latest round of shares
    Py_ssize_t n_in_round       # shares of that round
    Py_ssize_t step_work        # weights that a step reads
    Py_ssize_t worth_sharing    # weights times steps of a batch; if 0, everything is shared whether it pays or not
    double worth_abreast        # the least share of lanes in use, over the steps, with which sequences step abreast
    bint is_worth_sharing       # the batch is enough work for several threads
    bint is_shared              # the latest round of shares is for all workers, not for the leader alone

cdef struct Sharing:            # whether sharing saves time; times in nanoseconds
    double began                # when the latest round of shares began
    double own_time             # the leader's time on its processor in that round
    bint leader_waits           # the leader has found no task left to claim
    double cost                 # time lost by sharing, the latest rounds counting most; negative: saved
    double alone_time           # how long the leader last went on alone
    double alone_until          # until then the leader goes on alone

cdef struct Job:                # one call of `lstm97.train`, and how far it came; the words are those of team.h
    Team team
    Worker *workers             # (n_threads,), the leader's first
    int leader_cpu              # where the leader was when the team was formed
    Chunk chunk
    Portion portion
    StopRule rule
    # the present round
    int round_kind              # what its tasks are
    bint is_open                # it has begun and is not done
    int64_t last_wanted         # tasks after this one are given up
    # training in batches
    Batch batch
    Sharing sharing
    Py_ssize_t n_rows           # rows of weights that the batch may change
    # Hogwild training
    int64_t next_position       # in the order: the first sequence that no worker has claimed
    int64_t outcome_lock        # held while a worker adds a sequence to the outcome

cdef struct Kernel:             # one build of the loops
    int real_bytes
    void (*reset)(const Net*, State*) noexcept nogil
    Py_ssize_t (*first_not_finite)(const real*, Py_ssize_t) noexcept nogil
    void (*run)(const Net*, State*, const Chunk*, Py_ssize_t, Py_ssize_t, real*, real**, Report*) noexcept nogil
    void (*learn)(Net*, State*, const Chunk*, Py_ssize_t, Py_ssize_t, double, real*, Report*) noexcept nogil
    int (*correct)(Net*, State*, const real*, Py_ssize_t, double, double) noexcept nogil
    void (*train)(Net*, State*, const Chunk*, Portion*, Py_ssize_t) noexcept nogil
    void (*train_batches)(Net*, Job*, Py_ssize_t) noexcept nogil
    void (*train_hogwild)(Net*, Job*, Py_ssize_t) noexcept nogil
    void (*help)(Net*, Job*, Worker*) noexcept nogil
    void (*give_up)(Net*, Job*) noexcept nogil
    void (*settle)(const Net*, State*) noexcept nogil
    void (*reset_streams)(const Net*, Streams*, const uint8_t*) noexcept nogil
    void (*step_streams)(const Net*, Streams*, const Chunk*, const uint8_t*, bint, real*, Report*) noexcept nogil
    bint (*run_streams)(
        const Net*, Streams*, const Chunk*, int64_t*, const int64_t*, bint, Py_ssize_t, real*, Report*
    ) noexcept nogil
    void (*learn_streams)(Net*, Streams*, const Chunk*, const uint8_t*, double, real*, Report*) noexcept nogil

cdef struct Binding:            # what compiled code outside the package needs of a network and one of its states
    const Kernel *kernel
    Net *net
    State *st
