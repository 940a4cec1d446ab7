"""The tests of vhdfast."""
