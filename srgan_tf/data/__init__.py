"""From TFRecords of HR crops to batches of (lr in [0, 1], hr in [-1, 1])."""
