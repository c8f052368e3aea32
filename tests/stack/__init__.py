"""The native stack: its parts without servers, and its repair with them."""
