"""Run folders: write, read, list, and run them with PyTorch."""
