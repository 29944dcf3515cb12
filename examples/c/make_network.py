"""Write forecast.c: an untrained network, which main.c trains."""

import lstm97

topology = lstm97.Topology(n_inputs=1, n_outputs=1, blocks=(2, 2), forget_gates=True, output="identity")
net = lstm97.Network(topology, dtype="float32", seed=1, forget_gate_bias=1.0)
lstm97.export_c(net, "forecast.c", learn=True, name="forecast")
