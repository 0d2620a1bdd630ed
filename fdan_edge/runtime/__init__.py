"""From a bundle to probabilities. Imports no torch."""
