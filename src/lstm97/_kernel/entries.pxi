# The table of functions through which `engine` and `trainer` call a build of the loops.

cdef Kernel build = Kernel(
    real_bytes=sizeof(real),
    reset=reset,
    first_not_finite=first_not_finite,
    run=run,
    learn=learn,
    correct=correct,
    train=train,
    train_batches=train_batches,
    train_hogwild=train_hogwild,
    help=help,
    give_up=give_up,
    settle=settle,
    reset_streams=reset_streams,
    step_streams=step_streams,
    run_streams=run_streams,
    learn_streams=learn_streams,
)

kernel = PyCapsule_New(&build, "lstm97.kernel", NULL)
