"""What is tried on copies before anything is trained."""
