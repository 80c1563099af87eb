"""Rendered motions that sweep one property at a time: where the estimator holds and where it does not."""
