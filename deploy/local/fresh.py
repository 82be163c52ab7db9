"""`fresh`: the proof that one command is enough on a machine that has nothing.

A minimal Debian is made in a folder, and `deploy/dev up` is run in it, in namespaces of its own for mounts and processes: whatever
it starts ends with it. The network is this machine's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.layout import CHECKOUT

__all__ = ["fresh"]

SUITE = "bookworm"
# Only what "bare" means here: an interpreter, and the certificates that any download takes.
INCLUDED = "ca-certificates,python3"
PORT_BASE = 28_080
# What is made here, and what the proof must therefore do without.
LEFT_OUT = shutil.ignore_patterns(".venv", ".tools", ".dev*", ".git", "node_modules", "__pycache__", ".*_cache", ".hypothesis")
# How this machine reaches its registries, if not directly.
HANDED_IN = ("PIP_", "UV_", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
HOST_FILES = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")

IN_THE_ROOT = f"""
set -e
cd /checkout
deploy/dev up --detach --port-base {PORT_BASE}
deploy/dev status
deploy/dev up --detach --port-base {PORT_BASE} && exit 1
deploy/dev down
echo "installing nothing, and starting again on the kept state:"
deploy/dev --no-install up --detach --port-base {PORT_BASE}
deploy/dev down
test ! -e /usr/sbin/policy-rc.d
for program in /proc/[0-9]*/exe; do
    case $(readlink "$program") in *postgres | *redis* | *turnserver) echo "still running: $program"; exit 1 ;; esac
done
"""
MOUNTED = f"""
set -e
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev/shm"
exec chroot "$1" /bin/sh -c '{IN_THE_ROOT}'
"""


def fresh() -> int:
    """0 when a bare Debian came up, twice, and nothing ran afterwards."""
    if sys.platform != "linux" or os.geteuid() != 0:
        print("deploy/dev fresh: makes a Debian root, which takes root on Linux", file=sys.stderr)
        return 1
    try:
        return _prove()
    except subprocess.CalledProcessError as error:
        print(f"deploy/dev fresh: {error}", file=sys.stderr)
        return 1


def _prove() -> int:
    with _bare_debian() as root:
        began = time.monotonic()
        code = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", MOUNTED, "sh", str(root)],
            env=_environment(),
            check=False,
        ).returncode
        print(f"{'ok' if code == 0 else 'FAILED'}: a bare Debian came up ({time.monotonic() - began:.1f} s)", flush=True)
    return 0 if code == 0 else 1


@contextmanager
def _bare_debian() -> Iterator[Path]:
    # /tmp may be in memory, and PostgreSQL's account has to enter every folder above its own.
    root = Path(tempfile.mkdtemp(prefix="turnfleet-fresh-", dir="/var/tmp"))
    root.chmod(0o755)
    try:
        began = time.monotonic()
        print(f"making a minimal Debian in {root} …", flush=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(root)], check=True)
        for name in HOST_FILES:
            if (Path("/") / name).exists():
                (root / name).unlink(missing_ok=True)
                shutil.copyfile(Path("/") / name, root / name)
        shutil.copytree(CHECKOUT, root / "checkout", ignore=LEFT_OUT, symlinks=True)
        print(f"made ({time.monotonic() - began:.1f} s)", flush=True)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _environment() -> dict[str, str]:
    handed_in = {name: value for name, value in os.environ.items() if name.startswith(HANDED_IN)}
    return handed_in | {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
