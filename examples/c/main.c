/* A network learns to forecast the next value of a noisy sine while it runs. To build and run:
 *
 *     python make_network.py
 *     cc -O2 main.c forecast.c -o program -lm && ./program
 *
 * The program writes the learned weights to learned.bin. To load them into `net` of make_network.py:
 * net.parameters = numpy.fromfile("learned.bin", dtype="float32")
 */
#define FORECAST_DECLARATIONS_ONLY
#include "forecast.c"
#include <math.h>
#include <stdio.h>

enum { STEPS = 100000, SHOWN = 1000 };

/* The signal at time t, and noise in [-0.05, 0.05]. */
static float measure(int t)
{
    static unsigned random = 1;
    random = random * 1664525u + 1013904223u;
    return (float)sin(0.5 * t) + 0.1f * (float)(random >> 8) / (1 << 24) - 0.05f;
}

int main(void)
{
    forecast_weights weights = forecast_initial;
    forecast_state state = {0};
    float now = measure(0);
    double error = 0;
    for (int t = 1; t <= STEPS; t++) {
        float next;
        if (forecast_learn(&weights, &state, &now, NULL, 0, &next) != FORECAST_OK)
            return 1;
        now = measure(t);
        error += (now - next) * (now - next);
        if (forecast_correct(&weights, &state, &now, 0.02f) != FORECAST_OK)
            return 1;
        if (t % SHOWN == 0) {
            if (t == SHOWN || t == STEPS)
                printf("mean squared error of steps %d to %d: %.4f\n", t - SHOWN + 1, t, error / SHOWN);
            error = 0;
        }
    }

    float parameters[FORECAST_N_PARAMETERS];
    forecast_get_parameters(&weights, parameters);
    FILE *file = fopen("learned.bin", "wb");
    if (!file)
        return 1;
    int written = fwrite(parameters, sizeof parameters, 1, file) == 1;
    return fclose(file) == 0 && written ? 0 : 1;
}
