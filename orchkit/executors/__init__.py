"""Where the body of a step runs: on the loop, or in a worker thread."""
