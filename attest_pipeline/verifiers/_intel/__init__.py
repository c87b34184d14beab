"""What Intel's two TEEs share: DCAP quotes, PCK certificates, collateral and TCB levels."""
