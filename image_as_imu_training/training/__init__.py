"""Training in three stages: flow and depth; velocity through the solver; real recordings."""
