"""Images made to break the reader."""
