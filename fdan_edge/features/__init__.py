"""Tensors computed once from recordings and faces, and kept on disk."""
