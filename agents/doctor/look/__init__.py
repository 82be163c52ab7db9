"""What is: reading this host and asking the network. Nothing is judged here."""
