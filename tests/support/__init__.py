"""Builders and readers that share nothing with the code under test."""
