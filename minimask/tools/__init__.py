"""What is built around the network: commands, profile, kernel lab, textbook, comparisons."""
