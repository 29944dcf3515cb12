"""Work for many processes and machines: executors by name; one network trained on data that lie on many machines."""
