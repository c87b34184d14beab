"""What Arm CCA and the token formats derived from it share."""
