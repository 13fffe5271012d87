"""The nftables table of a Hanabi server: NAT to the Internet; host, metadata, private networks and other sandboxes are blocked.

Rules match the interface prefix and address sets, never a single slot: their number does not grow with the environments.
"""

import shutil
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path

from hanabi.base.processes import search_path

# What a function has no business with: this host's surroundings. 100.64/10 has the slots themselves in it.
CLOSED = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "224.0.0.0/3",
)  # fmt: skip
CONNECTIONS_MAX = 1024  # of one slot: the host's connection table is shared


def rules(table: str, prefix: str, slots: Sequence[IPv4Network], allow: Sequence[str]) -> str:
    """The rules as text; loading them replaces a table of that name in one transaction."""
    opened = ", ".join(str(each) for each in collapse_addresses(IPv4Network(cidr, strict=False) for cidr in allow))
    return f"""
table inet {table}
delete table inet {table}
table inet {table} {{
    set closed {{ type ipv4_addr; flags interval; elements = {{ {", ".join(CLOSED)} }} }}
    set opened {{ type ipv4_addr; flags interval; {f"elements = {{ {opened} }}" if opened else ""} }}
    set attached {{ type ipv4_addr . ipv4_addr; flags interval; }}
    set slots {{ type ipv4_addr; flags interval; elements = {{ {", ".join(map(str, slots))} }} }}
    set busy {{ type ipv4_addr; size 65535; flags dynamic; }}
    chain input {{
        type filter hook input priority filter - 10; policy accept;
        iifname "{prefix}*" ip daddr @opened accept
        iifname "{prefix}*" ip saddr . ip daddr @attached accept
        iifname "{prefix}*" drop
    }}
    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        iifname "{prefix}*" goto leaving
        oifname "{prefix}*" ct state established,related accept
        oifname "{prefix}*" drop
    }}
    chain leaving {{
        oifname "{prefix}*" drop
        ip saddr != @slots drop
        meta nfproto ipv6 drop
        ip daddr @opened goto counted
        ip saddr . ip daddr @attached goto counted
        ip daddr @closed drop
        goto counted
    }}
    chain counted {{
        ct state new add @busy {{ ip saddr ct count over {CONNECTIONS_MAX} }} drop
        accept
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @slots oifname != "{prefix}*" masquerade
    }}
}}
"""


def find_nft() -> str | None:
    """Find nft, also in /usr/sbin, which an ordinary user's PATH lacks."""
    return shutil.which("nft", path=search_path())


def load(table: str, prefix: str, slots: Sequence[IPv4Network], allow: Sequence[str]) -> str:
    """Load the table. Returns why that failed, or an empty string."""
    if (program := find_nft()) is None:
        return "no nft command (apt install nftables)"
    done = subprocess.run([program, "-f", "-"], input=rules(table, prefix, slots, allow), capture_output=True, text=True, timeout=30)
    return f"nft: {done.stderr.strip().splitlines()[0]}" if done.returncode else ""


def unload(table: str) -> None:
    if program := find_nft():
        subprocess.run([program, f"table inet {table}; delete table inet {table}"], capture_output=True, timeout=30)


def enable_forwarding(interface: str) -> None:
    """Enable forwarding for one interface, not for the whole host."""
    Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding").write_text("1")


def foreign_drop() -> str:
    """Find a foreign rule set that drops forwarded packets by default, as Docker's does; empty if there is none."""
    if (program := find_nft()) is None:
        return ""
    listed = subprocess.run([program, "list", "chain", "ip", "filter", "FORWARD"], capture_output=True, text=True, timeout=30).stdout
    if "policy drop" not in listed or "hanabi" in listed:
        return ""
    return (
        "this host's FORWARD chain drops by default (Docker's does): "
        "iptables -I FORWARD -i hn+ -j ACCEPT -m comment --comment hanabi; "
        "iptables -I FORWARD -o hn+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    )
