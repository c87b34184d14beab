"""What Huawei's TEEs share: the pinned roots, and the proof of a device certificate."""
