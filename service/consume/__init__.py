"""Behaviours from a Redis Stream into users' histories."""

from service.consume.command import consume

__all__ = ["consume"]
