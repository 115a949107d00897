"""Converts photos or a TFDS data set to sharded TFRecords of HR crops."""
