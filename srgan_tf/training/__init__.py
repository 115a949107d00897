"""One loop for every stage: state, steps, checkpoints."""
