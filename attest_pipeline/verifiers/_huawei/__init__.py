"""What Huawei's TEEs share: the pinned roots, the proof of a device certificate, and that of an iTrustee report."""
