"""The replica's picture of the fleet: what is kept, what is ignored, what is held."""

from __future__ import annotations

from controlplane.fleet.ice_urls import stun_urls, turn_urls
from controlplane.fleet.model import Health, Intent, Listener, Transport
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import Weight
from controlplane.fleet.view import FleetView
from tests.builders import AT, LISTENERS, make_node, make_record, make_region, make_report

NODE = make_node("node-1")


def make_view() -> FleetView:
    view = FleetView(policy=Policy())
    view.set_directory([make_region()], [NODE])
    return view


def test_an_older_report_from_another_replica_changes_nothing() -> None:
    view = make_view()
    newest = make_record(report=make_report(sequence=9))
    view.put_record("node-1", newest, received=100.0)
    view.put_record("node-1", make_record(report=make_report(sequence=8)), received=101.0)
    view.put_record("node-1", make_record(report=make_report(boot_id="older-boot-1", sequence=50)), received=99.0)
    assert view.record("node-1") is newest
    assert view.received_at("node-1") == 100.0


def test_our_own_report_read_back_does_not_renew_the_lease() -> None:
    view = make_view()
    record = make_record()
    view.put_record("node-1", record, received=100.0)
    view.put_record("node-1", record, received=105.0)
    assert view.received_at("node-1") == 100.0


def test_a_forgotten_node_leaves_nothing_behind() -> None:
    view = make_view()
    view.put_record("node-1", make_record(), received=100.0)
    view.place("node-1", Weight(bits_per_second=1.0, allocations=1.0))
    view.set_directory([make_region()], [])
    view.set_directory([make_region()], [NODE])
    assert (view.record("node-1"), view.received_at("node-1")) == (None, None)
    assert view.state(NODE, now=100.0).utilisation == 0.0


def test_silence_is_held_for_ten_minutes_of_blindness_and_then_let_go_of() -> None:
    view = make_view()
    view.put_record("node-1", make_record(), received=100.0)
    view.silence.blind_since = 100.0
    assert view.state(NODE, now=690.0).verdict.health is Health.SUSPECT
    assert view.state(NODE, now=1001.0).verdict.health is Health.DOWN


def test_the_interval_grows_beyond_ten_thousand_nodes() -> None:
    policy = Policy()
    assert [policy.interval_seconds(nodes) for nodes in (0, 10_000, 20_000)] == [2.0, 2.0, 4.0]


def test_urls_are_only_of_listeners_the_node_has() -> None:
    assert stun_urls(LISTENERS) == ["stun:relay.example:3478"]
    assert turn_urls(LISTENERS, limit=4) == [
        "turn:relay.example:3478?transport=udp",
        "turn:relay.example:3478?transport=tcp",
        "turns:relay.example:5349?transport=tcp",
    ]
    only_tls = [Listener(transport=Transport.TLS, host="2001:db8::1", port=443)]
    assert stun_urls(only_tls) == []
    assert turn_urls(only_tls, limit=4) == ["turns:[2001:db8::1]:443?transport=tcp"]


def test_at_most_so_many_urls_the_quickest_first() -> None:
    many = [Listener(transport=Transport.TLS, host=f"relay-{n}.example", port=443) for n in range(4)] + list(LISTENERS)
    assert len(turn_urls(many, limit=4)) == 4
    assert turn_urls(many, limit=4)[0] == "turn:relay.example:3478?transport=udp"


def test_a_report_that_came_before_its_node_was_known_is_kept() -> None:
    view = FleetView(policy=Policy())
    record = make_record()
    view.put_record("node-1", record, received=100.0)
    view.set_directory([make_region()], [make_node("node-2")])
    view.set_directory([make_region()], [NODE])
    assert view.record("node-1") is record
    assert view.received_at("node-1") == 100.0


def test_a_change_of_the_directory_keeps_what_is_known_and_derives_it_anew() -> None:
    view = make_view()
    view.put_record("node-1", make_record(), received=100.0)
    view.place("node-1", Weight(bits_per_second=1e8, allocations=1.0))
    before = view.state(NODE, now=100.0)
    cordoned = make_node("node-1", intent=Intent.CORDONED)
    view.set_directory([make_region("ap-south"), make_region()], [make_node("node-0"), cordoned])
    after = view.state(cordoned, now=100.0)
    assert (after.utilisation, after.age_seconds) == (before.utilisation, before.age_seconds)
    view.rebuild(now=100.0, wall=AT)
    assert view.table.regions["eu-central"].contenders == []
    view.set_directory([make_region()], [NODE])
    view.rebuild(now=100.0, wall=AT)
    assert [each.node_id for each in view.table.regions["eu-central"].contenders] == ["node-1"]
