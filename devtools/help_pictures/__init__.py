"""The pictures in the nodes' help pages: what each node really makes of toys and of free photographs."""
