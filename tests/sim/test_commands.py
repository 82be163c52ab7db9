"""`turnfleet sim` as its users call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from controlplane.sim import commands
from controlplane.sim.commands import sim

FLEET: dict[str, Any] = {
    "regions": [
        {"slug": "eu-central", "latitude": 50.11, "longitude": 8.68},
        {"slug": "us-east", "latitude": 39.04, "longitude": -77.49, "city": "Ashburn"},
    ],
    "nodes": [
        {"name": "fra-1", "region": "eu-central", "capacity_bits_per_second": 2e8, "bits_per_second": 6e7},
        {"name": "fra-2", "region": "eu-central", "capacity_bits_per_second": 2e8, "bits_per_second": 6e7},
        {"name": "ash-1", "region": "us-east", "capacity_bits_per_second": 2e8, "bits_per_second": 3e7},
    ],
    "exported_at": "2026-11-22T12:00:00Z",
}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(sim, arguments)


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(FLEET))
    return path


def test_compare_prints_a_row_per_policy() -> None:
    ended = call("compare", "--nodes", "4", "--replicas", "2", "--seeds", "1", "--workers", "1", "--policy", "random", "--json")
    assert ended.exit_code == 0, ended.stderr
    rows = json.loads(ended.stdout)
    assert [row["policy"] for row in rows] == ["oracle", "random"]
    fields = ["policy", "flash_peak_vs_oracle", "steady_peak_vs_oracle", "p99_spread_points", "placed_over_capacity"]
    assert [list(row) for row in rows] == [fields, fields]
    assert rows[0]["flash_peak_vs_oracle"] == rows[0]["steady_peak_vs_oracle"] == 1
    assert rows[1]["flash_peak_vs_oracle"] > 1.5


def test_compare_in_processes_is_compare_in_one() -> None:
    arguments = ("compare", "--nodes", "4", "--seeds", "2", "--policy", "weighted-random", "--json")
    assert call(*arguments, "--workers", "2").stdout == call(*arguments, "--workers", "1").stdout


def test_compare_as_a_table() -> None:
    ended = call("compare", "--nodes", "4", "--seeds", "1", "--workers", "1", "--policy", "two-choice")
    assert "FLASH PEAK" in ended.stdout
    assert [line.split()[0] for line in ended.stdout.splitlines()[1:3]] == ["oracle", "two-choice"]


def test_an_unknown_policy_is_named() -> None:
    ended = call("compare", "--policy", "magic")
    assert ended.exit_code == 2
    assert "'magic'" in ended.stderr
    assert "turnfleet" in ended.stderr


def test_a_small_change_holds(fleet_file: Path) -> None:
    ended = call("what-if", "--fleet", str(fleet_file), "--load", "+10%", "--json")
    assert ended.exit_code == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["holds"] is True
    assert answer["refused"] == 0
    europe, america = answer["regions"]
    assert (europe["region"], america["region"]) == ("eu-central", "us-east")
    assert europe["offered_bits_per_second"] == pytest.approx(1.2e8 * 1.1)
    assert 0.2 < europe["highest_utilisation"] < 0.95
    assert europe["served_in"]["eu-central"] > 0.9


def test_four_times_the_load_does_not_hold_and_it_says_why(fleet_file: Path) -> None:
    ended = call("what-if", "--fleet", str(fleet_file), "--load", "+300%")
    assert ended.exit_code == 1, ended.stderr
    assert ended.stdout.startswith("It does not hold.\n")
    assert "requests were refused" in ended.stdout


def test_a_lost_region_goes_to_the_other(fleet_file: Path) -> None:
    ended = call("what-if", "--fleet", str(fleet_file), "--lose-region", "us-east", "--add-node", "eu-central:2G", "--json")
    assert ended.exit_code == 0, ended.stdout
    america = json.loads(ended.stdout)["regions"][1]
    assert america["served_in"]["eu-central"] > 0.9
    assert america["highest_utilisation"] < 0.5


@pytest.mark.parametrize("name", ["plot.svg", "plot.png"])
def test_a_plot_is_written(fleet_file: Path, tmp_path: Path, name: str) -> None:
    ended = call("what-if", "--fleet", str(fleet_file), "--plot", str(tmp_path / name), "--json")
    assert ended.exit_code == 0, ended.stderr
    assert (tmp_path / name).stat().st_size > 5000


def test_without_matplotlib_it_says_what_to_install(fleet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda _: None)
    ended = call("what-if", "--fleet", str(fleet_file), "--plot", str(tmp_path / "plot.svg"))
    assert ended.exit_code == 2
    assert ended.stderr == "turnfleet: a plot needs matplotlib: pip install 'turnfleet[sim]'\n"


def test_matplotlib_is_loaded_for_plots_alone() -> None:
    program = "import sys, controlplane.sim.commands; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nodes": []}, "is no fleet"),
        ({"regions": FLEET["regions"][:1]}, "nodes in us-east, which is no region of it"),
        ({"nodes": [FLEET["nodes"][0]] * 2}, "has the node 'fra-1' twice"),
        ({"nodes": [{**FLEET["nodes"][0], "bits_per_second": 0}]}, "no load to start from"),
        ({"nodes": [{**FLEET["nodes"][0], "capacity_bits_per_second": 0}]}, "is no fleet"),
    ],
)
def test_a_file_that_is_no_fleet_is_told(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(FLEET | change))
    ended = call("what-if", "--fleet", str(path))
    assert ended.exit_code == 2
    assert sentence in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--load", "lots"), "--load is a change in per cent"),
        (("--load", "-100%"), "--load is a change in per cent"),
        (("--lose-region", "atlantis"), "no region 'atlantis'"),
        (("--add-node", "eu-central"), "--add-node is REGION:CAPACITY"),
        (("--add-node", "atlantis:1G"), "no region 'atlantis'"),
        (("--plot", "plot.pdf"), "neither .svg nor .png"),
    ],
)
def test_a_wrong_option_is_told(fleet_file: Path, arguments: tuple[str, ...], sentence: str) -> None:
    ended = call("what-if", "--fleet", str(fleet_file), *arguments)
    assert ended.exit_code == 2
    assert sentence in ended.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ended = call("what-if", "--fleet", str(tmp_path / "none.json"))
    assert ended.exit_code == 2
    assert "cannot be read: No such file or directory." in ended.stderr
