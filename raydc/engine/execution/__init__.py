"""How a run's networks are executed: what was chosen, by which trial, and who asks for it."""
