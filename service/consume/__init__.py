"""Consumer of behaviours from a Redis Stream into users' histories."""

from dinrank.service.consume.consumer import consume

__all__ = ["consume"]
