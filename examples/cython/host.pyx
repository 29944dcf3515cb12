# cython: language_level=3
"""A host program whose own compiled loop trains a network, without Python between the steps.

    pip install cython setuptools
    cythonize -i host.pyx && python -c "import host; host.main()"

The network sees one sample of an oscillating signal at a time and learns to predict the next.
"""

from libc.math cimport sin

from lstm97.cython_api cimport (
    LSTM97_OK, lstm97_bind, lstm97_correct, lstm97_learn, lstm97_stream, lstm97_unbind
)

import lstm97


cdef double sample(long t) noexcept nogil:
    """The signal: two waves, so that the next sample cannot be told from the last one alone."""
    return 0.5 * sin(0.2 * t) + 0.4 * sin(0.31 * t)


cdef int follow(lstm97_stream* stream, long begin, long end, double* error) noexcept nogil:
    """Predict every sample before it is seen, then learn from it; the sum of squared errors goes to `error`.

    Returns the status of the call that failed, if one did.
    """
    cdef double x, y, truth
    cdef long t
    cdef int status
    error[0] = 0
    for t in range(begin, end):
        x = sample(t)
        status = lstm97_learn(stream, &x, NULL, 0.02, &y)   # predict the next sample, which is not known yet
        if status != LSTM97_OK:
            return status
        truth = sample(t + 1)
        error[0] += (truth - y) * (truth - y)
        status = lstm97_correct(stream, &truth, 0.02)       # learn from it, now that it is known
        if status != LSTM97_OK:
            return status
    return LSTM97_OK


def mean_squared_errors(net, long n_steps, long n_portions):
    """The mean squared error in each of n_portions of n_steps of the stream."""
    cdef lstm97_stream* stream = lstm97_bind(net.state, sizeof(double), True)
    cdef double error
    cdef int status
    cdef long i
    errors = []
    try:
        for i in range(n_portions):
            with nogil:
                status = follow(stream, i * n_steps, (i + 1) * n_steps, &error)
            if status != LSTM97_OK:
                raise FloatingPointError(f"lstm97 status {status}")
            errors.append(error / n_steps)
    finally:
        lstm97_unbind(stream)
    return errors


def main():
    """Learn 200,000 steps of the stream and print how the error falls."""
    net = lstm97.Network(lstm97.Topology(1, 1, forget_gates=True, output="identity"), forget_gate_bias=1.0)
    for i, error in enumerate(mean_squared_errors(net, 20_000, 10)):
        print(f"steps {20_000 * i:6} to {20_000 * (i + 1):6}: mean squared error {error:.6f}")
