"""Reads a topic of Otter with Confluent's Python client, from its beginning to its present end, and prints the rows that the
events come to, as tab separated text by key.

    read.py BROKERS REGISTRY_URL USER:TOKEN TOPIC
"""

import datetime
import decimal
import json
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

EPOCH = datetime.datetime(1970, 1, 1)


def time_text(micros):
    """A TIME, which has a sign and up to 838 hours."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, micros = divmod(micros, 1_000_000)
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"


def text(value, kind):
    """A value as the database prints it; `kind` is the field's connect.name."""
    if value is None:
        return "NULL"
    if kind == "io.debezium.time.Date":
        return str((EPOCH + datetime.timedelta(days=value)).date())
    if kind == "io.debezium.time.Timestamp":
        return (EPOCH + datetime.timedelta(milliseconds=value)).isoformat(" ", "microseconds")
    if kind == "io.debezium.time.MicroTimestamp":
        return (EPOCH + datetime.timedelta(microseconds=value)).isoformat(" ", "microseconds")
    if kind == "io.debezium.time.ZonedTimestamp":
        seconds, _, fraction = value.removesuffix("Z").replace("T", " ").partition(".")
        return f"{seconds}.{fraction:0<6}"
    if kind == "io.debezium.time.MicroTime":
        return time_text(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex().upper()
    return str(value)


def kinds(envelope):
    """Column -> connect.name, out of an envelope's schema."""
    fields = next(f for f in envelope["fields"] if f["name"] == "before")["type"][1]["fields"]
    found = {}
    for field in fields:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        found[field["name"]] = next((b["connect.name"] for b in branches if isinstance(b, dict) and "connect.name" in b), None)
    return found


def main(brokers, url, user_info, topic):
    registry = SchemaRegistryClient({"url": url, "basic.auth.user.info": user_info})
    key_of = AvroDeserializer(registry)
    value_of = AvroDeserializer(registry)
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": "interop-python",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    })
    consumer.assign([TopicPartition(topic, 0, 0)])
    rows, operations, ordinal = {}, {}, -1
    while True:
        message = consumer.poll(30)
        if message is None:
            sys.exit("nothing came for 30 s")
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                break
            sys.exit(str(message.error()))
        key = key_of(message.key(), SerializationContext(topic, MessageField.KEY))
        event = value_of(message.value(), SerializationContext(topic, MessageField.VALUE))
        # Strictly rising within a partition: a repeat would have one that was seen already.
        if event["source"]["ordinal"] <= ordinal:
            continue
        ordinal = event["source"]["ordinal"]
        operations[event["op"]] = operations.get(event["op"], 0) + 1
        if event["op"] == "d":
            del rows[key["id"]]
        else:
            rows[key["id"]] = event["after"]
    consumer.close()
    types = kinds(json.loads(registry.get_latest_version(f"{topic}-value").schema.schema_str))
    for key in sorted(rows):
        print("\t".join(text(value, types[column]) for column, value in rows[key].items()))
    print(f"events: {operations}", file=sys.stderr)


main(*sys.argv[1:])
