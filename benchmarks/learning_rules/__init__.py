"""Learning rules, measured on real data of packages: ``python -m benchmarks.learning_rules`` prints the tables."""
