"""Networks: torchvision backbones, cross-attention, FDAN and its acoustic path."""
