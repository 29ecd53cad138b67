"""Pedigraph beside Kafka Streams: the same events from the same Apache Kafka, in one run, in CPU seconds.

    ./tests/run system -- -k kafka        # once: fetches the broker and the Python packages
    .cache/venv/bin/python benches/streams/compare.py [EVENTS]

Both read the same topic of four partitions, filled before. What is measured is the consumer's process alone, from a fifth of the
events to the last, so that neither start-up nor a cold JVM counts; the broker's share is nobody's. Pedigraph runs as `process`
(write node) and as `up` (with the views); Kafka Streams validates, hashes, de-duplicates, folds and writes, exactly once.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
os.environ.setdefault("PEDIGRAPH_TEST_KAFKA_LIB", str(CACHE / "kafka" / "lib"))
sys.path.insert(0, str(ROOT / "tests" / "system"))

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition  # noqa: E402
from kafka import Broker  # noqa: E402
from pedigraph import Node, until  # noqa: E402

TOPIC, ENTRIES, PARTITIONS = "pedigraph.cd", "entries", 4
DEADLINE_SECONDS = 600


def event(n):
    steps = ",".join(
        f'{{"name":"step-{step}","image":"registry.example.com/ci/runner:{n}","exitCode":0,"durationMs":{n * 7 + step},'
        '"labels":["team:payments","tier:gold"]}'
        for step in range(12)
    )
    return (
        '{"context":{"version":"0.4.1","id":"271069a8-fc18-44f1-b38f-%012d","source":"https://ci.example.com/shop/cart",'
        '"type":"dev.cdevents.service.deployed.0.2.0","timestamp":"2023-03-20T14:27:05.315384Z",'
        '"chainId":"4c8cb7dd-3448-41de-8768-eec704e2829b"},"subject":{"id":"cart-%d","source":"/cluster/prod-eu-1","type":"service",'
        '"content":{"environment":{"id":"prod","source":"/cluster"},'
        '"artifactId":"pkg:oci/cart@sha256:%064x?repository_url=registry.example.com/shop/cart&tag=1.%d"}},'
        '"customData":{"pipeline":"shop/cart/release","attempt":1,"steps":[%s]},"customDataContentType":"application/json"}'
        % (n, n % 2000, n, n, steps)
    ).encode()


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(name, pid, done, events, alive):
    """Events per CPU second between a fifth and all of them."""
    first = until(lambda: (n := done()) >= events // 5 and (n, cpu_seconds(pid)), f"{name} begins", DEADLINE_SECONDS, alive)
    until(lambda: done() >= events, f"{name} ends", DEADLINE_SECONDS, alive)
    cpu = cpu_seconds(pid) - first[1]
    rate = (events - first[0]) / cpu
    print(f"{name}: {events - first[0]} events in {cpu:.2f} CPU s: {rate:,.0f} events per CPU second", flush=True)
    return rate


def committed(broker, group):
    """How many events a group has committed; asks without joining it."""
    asking = Consumer({"bootstrap.servers": broker.address, "group.id": group, "log_level": 0})
    partitions = [TopicPartition(TOPIC, p) for p in range(PARTITIONS)]

    def done():
        try:
            return sum(max(partition.offset, 0) for partition in asking.committed(partitions, timeout=30))
        except KafkaException as error:
            # A broker's first group has no coordinator until the topic of offsets is made.
            if error.args[0].code() != KafkaError.NOT_COORDINATOR:
                raise
            return 0

    return done


def pedigraph(broker, directory, role, events):
    node = Node(Path(directory) / role, kafka=broker.address, topics=[TOPIC], group=role, role=role)
    node.start()

    def done():
        lines = node.get("/metrics").text.splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith('pedigraph_messages_total{status="accepted"}'))

    try:
        return measured(f"pedigraph {role}", node.process.pid, done, events, node.alive)
    finally:
        node.stop()


def streams(broker, directory, events):
    lib = CACHE / "streams"
    pom = ROOT / "benches" / "streams" / "pom.xml"
    fetch = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={lib}"]
    subprocess.run(fetch, check=True)
    source = ROOT / "benches" / "streams" / "Ledger.java"
    subprocess.run(["javac", "-cp", f"{lib}/*", "-d", str(lib / "classes"), str(source)], check=True)
    command = ["java", "-Xmx1g", "-cp", f"{lib}/classes:{lib}/*", "Ledger", broker.address, TOPIC, ENTRIES, str(Path(directory) / "state")]
    process = subprocess.Popen(command)

    def alive():
        assert process.poll() is None, "the streams program is gone"

    try:
        return measured("kafka streams", process.pid, committed(broker, "ledger"), events, alive)
    finally:
        process.terminate()
        process.wait(60)


def main():
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    with tempfile.TemporaryDirectory() as directory:
        broker = Broker(Path(directory) / "broker").start()
        try:
            broker.create(TOPIC, ENTRIES, partitions=PARTITIONS)
            producer = broker.producer()
            for n in range(events):
                producer.send(TOPIC, event(n), tag=n, partition=n % PARTITIONS)
            producer.flush()
            print(f"{events} CDEvents of {len(event(0))} bytes", flush=True)
            other = streams(broker, directory, events)
            for role in ("process", "up"):
                print(f"  {pedigraph(broker, directory, role, events) / other:.2f} times kafka streams", flush=True)
        finally:
            broker.kill()


main()
