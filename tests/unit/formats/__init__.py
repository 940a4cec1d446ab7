"""The formats: maps, bytes, notices and refusals."""
