"""What the domain needs of the world. One module per port; its adapters and its contract suite share the name."""
