"""Search dimensions filled, trial by trial: points, studies, suggestions, pruning."""
