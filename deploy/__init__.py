"""Ways to run turnfleet: the development entry, and what a real installation is made from."""
