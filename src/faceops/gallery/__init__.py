"""Enrolled people: enrol, search, forget."""
