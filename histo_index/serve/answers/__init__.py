"""Answers to requests, for REST and pages alike."""
