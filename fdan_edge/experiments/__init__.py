"""Cross-validation and the papers' tables."""
