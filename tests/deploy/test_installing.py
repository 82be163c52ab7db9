"""What deploy/dev installs and by whose hand, and that what it lays down meanwhile does not stay."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deploy.programs import ENTRY, entry, stand_in

APT_LINE = "apt-get update && apt-get install -y --no-install-recommends redis-server postgresql coturn"
DISABLED = " && systemctl disable --now redis-server postgresql coturn"
MARK = "# Made by deploy/dev of turnfleet for as long as its apt-get runs.\n"
GUARD = f"#!/bin/sh\n{MARK}exit 101\n"
CLUSTER = f"{MARK}create_main_cluster = false\n"
GUARDED = ("/usr/sbin", "/etc/postgresql-common", "/usr/lib/postgresql")


def hiding(tmp_path: Path, *folders: str) -> list[str]:
    """Words before a command: for it these folders of the system are empty, and what it writes there is ours alone."""
    unshared = ["unshare", "--mount"]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run([*unshared, "true"], check=False).returncode != 0:
        pytest.skip("mounts of one's own take root on Linux")
    mounts = [":"]
    for folder in folders:
        if Path(folder).is_dir():
            seen_there(tmp_path, folder).mkdir()
            mounts.append(f"mount --bind '{seen_there(tmp_path, folder)}' '{folder}'")
    (tmp_path / "bin" / "flock").symlink_to("/usr/bin/flock")
    # Mounted with the system's programs, whatever the test has on PATH.
    return ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", f'(PATH=/usr/bin:/bin; {"; ".join(mounts)}); exec "$@"', "sh"]


def seen_there(tmp_path: Path, path: str) -> Path:
    folder = next(folder for folder in GUARDED if path.startswith(folder))
    return tmp_path / folder.replace("/", "_") / path.removeprefix(folder).lstrip("/")


@pytest.fixture
def no_postgres(bare_path: str, tmp_path: Path) -> Sequence[str]:
    """PostgreSQL is found off PATH, too."""
    return hiding(tmp_path, "/usr/lib/postgresql")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The entry of a checkout of which nothing is installed yet."""
    script = tmp_path / "checkout" / "deploy" / "dev"
    script.parent.mkdir(parents=True)
    script.symlink_to(ENTRY)
    for name in ("requirements-dev.lock", "pyproject.toml"):
        (tmp_path / "checkout" / name).touch()
    return script


@pytest.mark.parametrize("has_systemd", [True, False])
async def test_the_line_undoes_that_apt_starts_services(bare_path: str, no_postgres: Sequence[str], has_systemd: bool) -> None:
    if has_systemd:
        stand_in(bare_path, "systemctl", "exit 1")
    status, said = await entry("--no-install", "up", path=bare_path, within=no_postgres)
    assert status == 3
    assert said.endswith(f": {APT_LINE}{DISABLED if has_systemd else ''}\n")


async def test_promtool_comes_for_the_tests_and_the_daemon_beside_it_stays_off(bare_path: str, no_postgres: Sequence[str]) -> None:
    stand_in(bare_path, "systemctl", "exit 1")
    _, said = await entry("--no-install", "test", path=bare_path, within=no_postgres)
    packages, _, disabled = said.partition(" && systemctl disable --now ")
    assert "prometheus" in packages.split()
    assert disabled == "redis-server postgresql coturn prometheus\n"
    _, said = await entry("--no-install", "up", path=bare_path, within=no_postgres)
    assert "prometheus" not in said


async def test_a_plain_user_installs_with_a_sudo_that_asks_for_nothing(bare_path: str, no_postgres: Sequence[str]) -> None:
    stand_in(bare_path, "id", "echo 1000")
    stand_in(bare_path, "sudo", 'echo "sudo $*"')
    status, said = await entry("up", path=bare_path, within=no_postgres)
    asked = [line for line in said.splitlines() if line.startswith("sudo ")]
    assert asked[-1] == f"sudo -n sh {ENTRY} __install_packages redis-server postgresql coturn"
    assert status == 3
    assert said.endswith("redis is still missing after its packages were installed\n")


async def test_a_plain_user_whose_sudo_wants_a_password_is_told_the_line(bare_path: str, no_postgres: Sequence[str]) -> None:
    stand_in(bare_path, "id", "echo 1000")
    stand_in(bare_path, "sudo", '[ "$*" != "-n true" ] && echo "sudo $*"; exit 1')
    status, said = await entry("up", path=bare_path, within=no_postgres)
    assert status == 3
    assert said == f"deploy/dev: missing: redis postgres coturn. Install as root with: {APT_LINE}\n"


async def test_homebrew_gets_applications_apart_and_nothing_that_it_does_not_have(bare_path: str) -> None:
    stand_in(bare_path, "uname", "echo Darwin")
    stand_in(bare_path, "brew", 'echo "brew $*"')
    status, said = await entry("test", path=bare_path)
    assert status == 3
    formulae, casks = [line for line in said.splitlines() if line.startswith("brew ")]
    assert formulae.startswith("brew install redis ")
    assert "-" not in formulae.split()
    assert casks == "brew install --cask chromium"
    status, said = await entry("--no-install", "test", path=bare_path)
    assert status == 3
    assert said.endswith(f"Install with: {formulae} && {casks}\n")


@pytest.mark.parametrize("left_behind", [False, True])
async def test_no_guard_stays_even_where_a_killed_run_had_left_its_own(bare_path: str, tmp_path: Path, left_behind: bool) -> None:
    within = hiding(tmp_path, *GUARDED)
    guard = seen_there(tmp_path, "/usr/sbin/policy-rc.d")
    cluster = seen_there(tmp_path, "/etc/postgresql-common/createcluster.d/turnfleet.conf")
    if left_behind:
        guard.write_text(GUARD)
        cluster.parent.mkdir(parents=True)
        cluster.write_text(CLUSTER)
    stand_in(bare_path, "apt-get", "/bin/cat /usr/sbin/policy-rc.d /etc/postgresql-common/createcluster.d/turnfleet.conf; exit 1")
    status, said = await entry("__install_packages", "coturn", path=bare_path, within=within)
    assert status == 3
    assert said.startswith(GUARD + CLUSTER)
    assert not guard.exists()
    assert not cluster.exists()


async def test_a_guard_of_somebody_else_stays(bare_path: str, tmp_path: Path) -> None:
    within = hiding(tmp_path, *GUARDED)
    guard = seen_there(tmp_path, "/usr/sbin/policy-rc.d")
    guard.write_text("#!/bin/sh\nexit 104\n")
    status, _ = await entry("__install_packages", "coturn", path=bare_path, within=within)
    assert status == 0
    assert guard.read_text() == "#!/bin/sh\nexit 104\n"


async def test_what_a_killed_run_left_goes_with_the_next_command_that_misses_nothing(
    bare_path: str, tmp_path: Path, checkout: Path
) -> None:
    within = hiding(tmp_path, "/usr/sbin")
    guard = seen_there(tmp_path, "/usr/sbin/policy-rc.d")
    guard.write_text(GUARD)
    stand_in(bare_path, "uv", "exit 1")
    stand_in(bare_path, "python3", f'case $* in *"-m venv"*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac')
    _, said = await entry("lint", path=bare_path, script=checkout, within=within)
    assert not guard.exists(), said
    assert "apt-get was run" not in said


@pytest.mark.parametrize(
    ("version", "is_used"),
    [("uv 0.13.9", True), ("uv 1.0.0 (a1b2c3d 2027-01-01)", True), ("uv 0.13.8", False), ("uv 0.4.30", False), ("", False)],
    ids=["pinned", "newer", "older", "old", "unknown"],
)
async def test_only_a_uv_that_is_no_older_than_ours_is_used(bare_path: str, checkout: Path, version: str, is_used: bool) -> None:
    stand_in(bare_path, "uv", f'[ "$1" = --version ] && echo "{version}" && exit; echo "cached in $UV_CACHE_DIR"; exit 1')
    # Ends where the real interpreter would fetch a uv.
    stand_in(bare_path, "python3", f'case $* in *"-m venv"*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac')
    status, said = await entry("lint", path=bare_path, script=checkout, UV_CACHE_DIR="", PIP_CACHE_DIR="")
    assert status != 0
    assert (f"cached in {checkout.parents[1]}/.tools/cache/uv" in said) is is_used
    assert ("installing uv" in said) is not is_used


async def test_caches_that_the_caller_named_are_used(bare_path: str, checkout: Path) -> None:
    stand_in(
        bare_path, "uv", '[ "$1" = --version ] && echo "uv 99.0.0" && exit; echo "in $UV_CACHE_DIR and $PIP_CACHE_DIR"; exit 1'
    )
    _, said = await entry("lint", path=bare_path, script=checkout, UV_CACHE_DIR="/of/uv", PIP_CACHE_DIR="/of/pip")
    assert "in /of/uv and /of/pip" in said
