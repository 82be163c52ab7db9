"""What a process can do with the master keys that it has, and with those it does not have."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest

from controlplane.fleet.eligibility import signing_version
from controlplane.fleet.model import Node
from controlplane.flows.master_keys import MasterKeys, missing_key
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.wire.agent_api import secret_digest
from controlplane.wire.redacted import Redacted
from tests.builders import make_record, make_report

OLD, NEW = (Redacted(base64.b64encode(bytes([number]) * 32).decode()) for number in (1, 2))
OLD_ID, NEW_ID = MasterKeys(OLD).current, MasterKeys(NEW).current
OF_BOTH = Node(node_id="n-1", name="eu-1", region="eu", secret_versions=(1, 2), secret_keys=((1, OLD_ID), (2, NEW_ID)))


def test_a_version_comes_from_the_key_that_was_used_when_it_was_made() -> None:
    node = Node(node_id="n", name="n", region="eu", secret_keys=((1, "a"), (4, "b"), (6, "a")))
    assert [node.key_of(version) for version in (1, 3, 4, 5, 6, 9)] == ["a", "a", "b", "b", "a", "a"]
    assert Node(node_id="n", name="n", region="eu").key_of(1) is None


def test_a_key_has_the_same_id_in_every_process_and_two_keys_have_two() -> None:
    assert MasterKeys(NEW, OLD).known == MasterKeys(OLD, NEW).known == {OLD_ID, NEW_ID}
    assert len(OLD_ID) == 8
    assert MasterKeys(NEW, OLD).current == NEW_ID != OLD_ID


def test_both_keys_derive_what_each_alone_does() -> None:
    both = NodeSecrets(MasterKeys(NEW, OLD))
    assert both.signing_key("n-1", 1, OLD_ID) == NodeSecrets(MasterKeys(OLD)).signing_key("n-1", 1, None)
    assert both.signing_key("n-1", 1, NEW_ID) != both.signing_key("n-1", 1, OLD_ID)
    with pytest.raises(KeyError):
        NodeSecrets(MasterKeys(NEW)).signing_key("n-1", 1, OLD_ID)


@pytest.mark.parametrize(
    ("keys", "unknown", "signs"),
    [(MasterKeys(NEW, OLD), set(), 2), (MasterKeys(OLD), {2}, 1), (MasterKeys(NEW), {1}, 2)],
    ids=["both", "only the old", "only the new"],
)
def test_a_replica_signs_only_with_what_it_can_derive(keys: MasterKeys, unknown: set[int], signs: int) -> None:
    seen = keys.see(OF_BOTH)
    assert seen.unknown_versions == unknown
    assert signing_version(seen, make_record(report=make_report(secret_versions=(1, 2)))) == signs
    assert missing_key([seen]) is None


def test_what_cannot_be_judged_counts_as_right_and_what_can_does_not() -> None:
    good = NodeSecrets(MasterKeys(NEW, OLD))
    digests = [(version, secret_digest(good.secret(OF_BOTH, version).reveal())) for version in (1, 2)]
    assert good.check(OF_BOTH, digests) == ((1, 2), False)
    assert good.check(OF_BOTH, [digests[0], (2, "0" * 16)]) == ((1,), True)
    blind = NodeSecrets(MasterKeys(OLD))
    assert blind.check(OF_BOTH, digests) == ((1, 2), False)
    assert blind.check(OF_BOTH, [(1, "0" * 16), digests[1]]) == ((2,), True)


def test_a_missing_key_is_told_with_the_nodes_that_need_it() -> None:
    keys = MasterKeys(NEW)
    nodes = [keys.see(Node(node_id=f"n-{n}", name=f"eu-{n}", region="eu", secret_keys=((1, OLD_ID),))) for n in range(7)]
    told = missing_key([*nodes, keys.see(OF_BOTH)]) or ""
    assert "eu-0, eu-1, eu-2, eu-3, eu-4 and 2 more come from the master key " + OLD_ID in told
    assert "TURNFLEET_MASTER_KEY_PREVIOUS" in told


def test_webhook_secrets_of_both_keys_open_and_are_sealed_with_the_one_in_use() -> None:
    webhook_id = uuid4()
    keys = MasterKeys(NEW, OLD)
    both = WebhookSecrets(keys)
    keys.use(OLD_ID)
    _, sealed = both.make(webhook_id)
    assert sealed[:4].hex() == OLD_ID, "a process that has only the old one has to open it"
    assert WebhookSecrets(MasterKeys(OLD)).seal_again(sealed, webhook_id) is not None
    keys.use(NEW_ID)
    again = both.seal_again(sealed, webhook_id)
    assert again is not None
    assert again[:4].hex() == NEW_ID
    assert WebhookSecrets(MasterKeys(NEW)).seal_again(again, webhook_id) is not None
    for wrong in (sealed, again[:4] + sealed[4:], b"", again[:8]):
        assert WebhookSecrets(MasterKeys(NEW)).seal_again(wrong, webhook_id) is None
    keys.use("of nobody")
    assert (keys.in_use, keys.missed) == (NEW_ID, "of nobody")
