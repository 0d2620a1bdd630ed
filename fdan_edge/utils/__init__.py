"""Plumbing that every layer may use: files, hashes, parallel work, progress, the machine."""
