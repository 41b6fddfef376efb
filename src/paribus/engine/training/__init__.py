"""One segment: from a state to the next, with what is recorded and kept."""
