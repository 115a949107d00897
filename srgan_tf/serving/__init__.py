"""From a run folder to a SavedModel, and from a SavedModel to upscaled pictures."""
