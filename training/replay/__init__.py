"""Off-policy replay: estimate what one bundle's ranking would have earned on a log, against another's."""
