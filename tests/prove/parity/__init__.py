"""How far chainrule is from PyTorch: every op, layer, loss and optimizer, measured. ``make parity`` writes docs/parity.md."""
