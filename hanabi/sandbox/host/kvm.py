"""The kind of KVM on this host: hardware, nested in software, or none for this user."""

import os
from pathlib import Path


def is_hardware() -> bool:
    """Whether guests run on hardware virtualisation. A nested KVM in software works, slowly: docs/microvm.md."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) or Path("/sys/module/kvm_pvm").exists():
        return False
    if os.uname().machine != "x86_64":
        return True
    return bool({"vmx", "svm"} & set(Path("/proc/cpuinfo").read_text().split()))


def describe() -> str:
    return "KVM" if is_hardware() else "KVM nested in software: slow"
