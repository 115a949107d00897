"""Per-image losses `[B]` and the objectives that weigh them."""
