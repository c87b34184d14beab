"""What the verifiers of AMD's TEEs share: the SEV-SNP report, its key's certificate, AMD's roots, and their proof."""
