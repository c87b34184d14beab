"""What the verifiers of TPMs share: the AK, the quote, its signature, the PCRs, and the logs that explain them."""
