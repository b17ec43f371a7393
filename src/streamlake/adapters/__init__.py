"""What plugs into the ports: one folder per port; siblings show what is interchangeable and never import each other."""
