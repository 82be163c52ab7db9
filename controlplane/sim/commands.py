"""`turnfleet sim`: questions to a fleet in virtual time. Needs no database and no server."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from controlplane.fleet.policy import Policy
from controlplane.sim.compare import compare
from controlplane.sim.engine import run
from controlplane.sim.fleet_file import FleetFileError, read_fleet_file
from controlplane.sim.oracle import Oracle
from controlplane.sim.policies import POLICIES
from controlplane.sim.printing import print_answer, print_comparisons, progress_on_stderr
from controlplane.sim.runs import held_out_seeds, run_all, tasks_of
from controlplane.sim.scenarios import flash_crowd
from controlplane.sim.turnfleet import Turnfleet
from controlplane.sim.what_if import CHANGE_AT_SECONDS, Change, judge, learned_before, make_scenario, utilisation_by_region
from controlplane.sim.workload import make_workload

sim = typer.Typer(no_args_is_help=True, help="Try a fleet in virtual time: compare policies, ask what if.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_USAGE = 2
_FORMATS = (".png", ".svg")
_SCALE = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_FILE = (
    'The file: {"regions": [{"slug", "latitude", "longitude"}], "nodes": [{"name", "region", "capacity_bits_per_second",'
    ' "bits_per_second", "capacity_allocations"?}], "traffic"?: {"conversion"?, "mean_bits_per_second"?, "mean_length_seconds"?}}.'
    " What is marked with ? may be left out."
)
_PLOT_NEEDS = "a plot needs matplotlib: pip install 'turnfleet[sim]'"


@sim.command(name="compare")
def compare_policies(
    nodes: Annotated[int, typer.Option(min=2, help="Nodes of unequal capacity, in one region.")] = 100,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of the control plane.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per policy.")] = 10,
    policy: Annotated[list[str] | None, typer.Option(help="Only this policy; may be repeated. The oracle is always run.")] = None,
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds between two reports of a node.")] = 2.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are cores when not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare selection policies in a flash crowd, ten times the requests for 30 s, with an oracle's placement."""
    chosen = list(POLICIES) if policy is None else [each for each in POLICIES if each in policy or each == Oracle.name]
    unknown = sorted(set(policy or ()) - set(POLICIES))
    if unknown:
        _fail(f"There is no policy {unknown[0]!r}; there are {', '.join(POLICIES)}.")
    scenario = replace(flash_crowd(nodes, replicas=replicas), interval_seconds=interval)
    tasks = tasks_of(scenario, chosen, held_out_seeds(seeds))
    with progress_on_stderr() as progress:
        bar = progress.add_task(f"{nodes} nodes, {len(chosen)} policies, {seeds} seeds", total=len(tasks))
        outcomes = run_all(tasks, workers=workers, done=lambda _: progress.advance(bar))
    order = {name: number for number, name in enumerate(chosen)}
    rows = sorted(compare(outcomes), key=lambda row: order[row.policy])
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        print_comparisons(rows)


@sim.command(name="what-if", epilog=_FILE)
def what_if(
    fleet: Annotated[Path, typer.Option(help="The fleet: regions, nodes, capacities and what they relay now, as JSON.")],
    load: Annotated[str, typer.Option(help="So much more or less from everybody, as +30% or -10%.")] = "+0%",
    lose_region: Annotated[list[str] | None, typer.Option(help="This region's nodes vanish; may be repeated.")] = None,
    add_node: Annotated[
        list[str] | None, typer.Option(metavar="REGION:CAPACITY", help="One more node, its capacity as 2e9 or 2G bits per second.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the regions' utilisation over time to this .svg or .png.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other callers.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Does a fleet hold with that change, and where do callers end up? Exit status 1 when it does not."""
    if plot is not None:
        if plot.suffix not in _FORMATS:
            _fail(f"{plot} is neither .svg nor .png.")
        if find_spec("matplotlib") is None:  # before a minute of simulation, not after it
            _fail(_PLOT_NEEDS)
    try:
        change = Change(
            load_factor=_factor(load), lost_regions=tuple(lose_region or ()), added=tuple(map(_node_of, add_node or ()))
        )
        scenario = make_scenario(read_fleet_file(fleet), change)
    except FleetFileError as error:
        _fail(str(error))
    policy = Policy(heartbeat_interval_seconds=scenario.interval_seconds)
    workload = make_workload(scenario, seed)
    with progress_on_stderr() as progress:
        bar = progress.add_task("simulated seconds", total=scenario.duration_seconds)
        placer = Turnfleet(scenario, workload, seed, policy=policy)
        placer.store.conversion = learned_before(scenario.traffic)
        outcome, trail = run(scenario, workload, placer, seed, progress=lambda now: progress.update(bar, completed=now))
        progress.update(bar, completed=scenario.duration_seconds)
    answer = judge(scenario, workload, outcome, trail, policy)
    if plot is not None:
        from controlplane.sim.plot import plot_utilisation

        series = utilisation_by_region(scenario, trail, policy)
        plot_utilisation(plot, series, changed_at_seconds=CHANGE_AT_SECONDS, policy=policy)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        print_answer(answer)
    if not answer.holds:
        raise typer.Exit(1)


def _factor(growth: str) -> float:
    """+30% → 1.3."""
    match = re.fullmatch(r"([+-]\d+(?:\.\d+)?)%", growth.strip())
    factor = 1 + float(match.group(1)) / 100 if match is not None else 0.0
    if factor <= 0:
        raise FleetFileError(f"--load is a change in per cent, as +30% or -10%, not {growth!r}.")
    return factor


def _node_of(text: str) -> tuple[str, float]:
    """eu-central:2G → (eu-central, 2e9)."""
    region, _, size = text.rpartition(":")
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([kMGT]?)", size)
    if not region or match is None or float(match.group(1)) <= 0:
        raise FleetFileError(f"--add-node is REGION:CAPACITY, as eu-central:2G, not {text!r}.")
    return region, float(match.group(1)) * _SCALE[match.group(2)]


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"turnfleet: {sentence}", err=True)
    raise typer.Exit(_USAGE)
