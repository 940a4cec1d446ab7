"""Whether an image's own tables are sound."""
