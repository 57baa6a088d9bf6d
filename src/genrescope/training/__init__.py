"""A recipe and a data set in, a run out: weights, metrics, pictures and a bundle."""
