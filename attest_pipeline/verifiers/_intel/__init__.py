"""What the verifiers of Intel's TEEs share: DCAP quotes, PCK certificates, collateral and TCB levels."""
