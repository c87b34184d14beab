"""What the verifiers of NVIDIA GPUs and NVSwitches share: SPDM reports, device certificates, and RIMs."""
