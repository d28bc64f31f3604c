"""How a data set is judged: protocol, training step, metrics. No Ray."""
