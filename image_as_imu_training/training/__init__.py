"""Training in stages: flow and depth; velocity through the solver; the refinement; depth alone; real recordings."""
