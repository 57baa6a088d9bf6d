"""Known models: their published weights, made into bundles without torch."""
