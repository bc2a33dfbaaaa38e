"""Which of several results is the best, by what is known when they are made: no truth is asked for."""
