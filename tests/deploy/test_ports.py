"""Which port is whose, and what happens when one is taken."""

import socket
from pathlib import Path

import pytest

from deploy.local.layout import StackOptions, node_names
from deploy.local.ports import HOST, PortPlan, PortsTaken, reserve_ports


def all_ports(plan: PortPlan) -> list[int]:
    ports = [plan.api, plan.metrics, plan.jobs_metrics, plan.redis, plan.postgres]
    for index in range(plan.node_count):
        node = plan.node(index)
        ports += [node.turn, node.tls, node.cli, *range(node.relay_first, node.relay_last + 1)]
    return ports


def test_no_port_is_given_twice_and_all_lie_in_the_block() -> None:
    plan = PortPlan(base=8080, node_count=12)
    ports = all_ports(plan)
    assert len(ports) == len(set(ports))
    assert min(ports) == plan.base
    assert max(ports) == plan.base + plan.count - 1


def test_a_node_has_at_least_200_relay_ports() -> None:
    node = PortPlan(base=8080, node_count=1).node(0)
    assert node.relay_last - node.relay_first + 1 >= 200


@pytest.mark.parametrize(("base", "node_count"), [(0, 1), (65_400, 1), (60_000, 40)], ids=["zero", "end", "too many"])
def test_a_block_that_does_not_fit_is_refused(base: int, node_count: int) -> None:
    with pytest.raises(ValueError, match="the base must be between"):
        PortPlan(base=base, node_count=node_count)


def test_a_taken_port_is_named_with_another_base() -> None:
    plan_size = PortPlan(base=8080, node_count=1).count
    with reserve_ports(plan_size) as ports:
        plan = PortPlan(base=ports.base, node_count=1)
        plan.require_free()
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, plan.redis))
            tcp.listen()
            udp.bind((HOST, plan.node(0).relay_first))
            expected = rf"Redis {plan.redis}/tcp, relay of node 1 {plan.node(0).relay_first}/udp; --port-base \d+ is free"
            with pytest.raises(PortsTaken, match=expected):
                plan.require_free()


def test_reserved_ports_are_given_to_nobody_else_until_released() -> None:
    with reserve_ports(3) as first, reserve_ports(3) as second:
        assert {*range(first.base, first.base + 3)}.isdisjoint(range(second.base, second.base + 3))


def test_a_bigger_fleet_keeps_the_ports_of_the_nodes_before(tmp_path: Path) -> None:
    small = node_names(StackOptions(state=tmp_path, nodes_per_region=1))
    big = node_names(StackOptions(state=tmp_path, nodes_per_region=2))
    assert [node.name for node in big] == ["eu-central-1", "us-east-1", "eu-central-2", "us-east-2"]
    assert big[:2] == small
