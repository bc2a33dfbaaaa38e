"""Many pictures by one method: a list of pairs, worker processes, and a folder in which each picture is made once."""
