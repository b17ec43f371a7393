"""librdkafka's properties: what is set, what is refused, and what reaches which client."""

from __future__ import annotations

import logging

import pytest

from streamlake.adapters.event_log.kafka.config import CONSUMER_ONLY, PRODUCER_ONLY, KafkaConfig
from streamlake.domain.errors import SettingsInvalid

NOWHERE = "127.0.0.1:1"


def test_without_properties_the_promises_are_set() -> None:
    config = KafkaConfig(NOWHERE, {})
    producer, consumer = config.producer(), config.consumer("g")
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", "true")
    assert producer["partitioner"] == "murmur2_random"
    assert consumer["enable.auto.commit"] == consumer["enable.auto.offset.store"] == "false"
    assert (consumer["auto.offset.reset"], consumer["isolation.level"]) == ("error", "read_committed")
    assert consumer["check.crcs"] == "true"
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acks", "1"),
        ("request.required.acks", "0"),
        ("enable.idempotence", "false"),
        ("partitioner", "random"),
        ("enable.auto.commit", "true"),
        ("auto.commit.enable", "true"),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_uncommitted"),
        ("check.crcs", "false"),
        ("partition.assignment.strategy", "range"),
        ("allow.auto.create.topics", "true"),
        ("group.id", "mine"),
        ("transactional.id", "t"),
        ("bootstrap.servers", "elsewhere:9092"),
        ("delivery.timeout.ms", "0"),
        ("message.timeout.ms", "0"),
        ("delivery.report.only.error", "true"),
        ("test.mock.num.brokers", "3"),
    ],
)
def test_what_a_promise_rests_on_cannot_be_overridden(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        KafkaConfig(NOWHERE, {name: value})


@pytest.mark.parametrize(("name", "value"), [("acks", "all"), ("acks", "-1"), ("enable.idempotence", "True")])
def test_saying_what_is_so_anyway_is_fine(name: str, value: str) -> None:
    KafkaConfig(NOWHERE, {name: value})


@pytest.mark.parametrize("name", ["sasl.passwrd", "linger", "group.protocl", "error_cb", "rebalance_cb", "logger"])
def test_a_property_that_librdkafka_does_not_know_is_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        KafkaConfig(NOWHERE, {name: "x"})


def test_a_value_that_librdkafka_refuses_names_its_property() -> None:
    with pytest.raises(SettingsInvalid, match="compression"):
        KafkaConfig(NOWHERE, {"compression.type": "best"})


def test_properties_that_do_not_go_together_are_refused_when_the_client_is_made() -> None:
    config = KafkaConfig(NOWHERE, {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"})
    with pytest.raises(SettingsInvalid, match=r"sasl\.username and sasl\.password must be set"):
        config.open_admin()


def test_a_secret_never_reaches_a_message_or_a_traceback() -> None:
    secret = "hunter2-hunter2"
    properties = {"sasl.password": secret, "ssl.key.pem": secret, "security.protocol": "SSL", "log_level": "0"}
    config = KafkaConfig(NOWHERE, properties)
    with pytest.raises(SettingsInvalid) as raised:
        config.open_admin()
    assert secret not in str(raised.value)
    assert raised.value.__suppress_context__
    with pytest.raises(SettingsInvalid) as raised:
        KafkaConfig(NOWHERE, {"sasl.password": secret, "sasl.mechanism": secret, "debug": secret})
    assert secret not in str(raised.value)


def test_every_client_gets_its_own_properties_and_librdkafka_warns_of_none(caplog: pytest.LogCaptureFixture) -> None:
    given = {"linger.ms": "7", "batch.size": "100000", "fetch.min.bytes": "2", "session.timeout.ms": "7000"}
    config = KafkaConfig(NOWHERE, given)
    with caplog.at_level(logging.DEBUG, "streamlake.kafka"):
        producer = config.open_producer(config.producer())
        consumer = config.open_consumer(config.consumer("g"))
        producer.poll(0)
        consumer.poll(0)
        consumer.close()
    assert (config.producer()["linger.ms"], config.consumer("g")["session.timeout.ms"]) == ("7", "7000")
    assert "fetch.min.bytes" not in config.producer()
    assert "linger.ms" not in config.consumer("g")
    assert not {"linger.ms", "fetch.min.bytes"} & config.admin().keys()
    assert "CONFWARN" not in caplog.text


def test_no_property_belongs_to_producers_alone_and_to_consumers_alone() -> None:
    assert not PRODUCER_ONLY & CONSUMER_ONLY


def test_the_new_group_protocol_is_told_neither_session_nor_assignor() -> None:
    config = KafkaConfig(NOWHERE, {"group.protocol": "consumer", "log_level": "0"})
    consumer = config.consumer("g")
    assert not {"session.timeout.ms", "partition.assignment.strategy"} & consumer.keys()
    config.open_consumer(consumer).close()


@pytest.mark.parametrize(
    ("given", "interval_ms"),
    [
        ({}, None),
        ({"session.timeout.ms": "45000"}, "3000"),
        ({"session.timeout.ms": "3000"}, "1000"),
        ({"session.timeout.ms": "1"}, "1"),
        ({"session.timeout.ms": "3000", "heartbeat.interval.ms": "2000"}, "2000"),
    ],
)
def test_a_short_session_has_its_heartbeats(given: dict[str, str], interval_ms: str | None) -> None:
    """librdkafka beats every 3 s unless told otherwise, also where that is a whole session."""
    assert KafkaConfig(NOWHERE, given).consumer("g").get("heartbeat.interval.ms") == interval_ms


def test_the_delivery_timeout_has_two_names_and_the_one_given_counts() -> None:
    assert KafkaConfig(NOWHERE, {}).delivery_timeout_s == 20
    assert KafkaConfig(NOWHERE, {"delivery.timeout.ms": "5000"}).delivery_timeout_s == 5
    assert KafkaConfig(NOWHERE, {"message.timeout.ms": "4000"}).delivery_timeout_s == 4


def test_an_address_without_a_server_is_refused() -> None:
    with pytest.raises(SettingsInvalid):
        KafkaConfig("", {})
