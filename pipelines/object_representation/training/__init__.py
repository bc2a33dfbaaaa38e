"""How an object is learned from a few pictures of it."""
