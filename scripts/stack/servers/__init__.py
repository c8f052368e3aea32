"""What each server of the stack needs: its files, its command line, its proof of life."""
