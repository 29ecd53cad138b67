"""Apache Kafka itself, one KRaft node, started and killed by the tests."""

import base64
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pedigraph import free_port, until

MESSAGE_BYTES_MAX = 16 << 20
JVM = ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


def jars():
    """Where ./tests/run put the broker, or None."""
    found = os.environ.get("PEDIGRAPH_TEST_KAFKA_LIB")
    return Path(found) if found and any(Path(found).glob("kafka_2.13-*.jar")) and shutil.which("java") else None


class Broker:
    """A broker on free ports of loopback. `kill` is a power cut; `start` serves the same directory again."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.process = None
        port, controller = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self.log = self.directory / "broker.log"
        self.directory.mkdir(parents=True)
        self.properties = self.directory / "server.properties"
        self.properties.write_text(
            f"""process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{self.address}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={self.directory / "data"}
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.flush.interval.messages=1000
auto.create.topics.enable=false
socket.request.max.bytes=104857600
"""
        )
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        self._run("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--standalone", "-c", str(self.properties))

    def _run(self, *arguments):
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _command(self, *arguments):
        return [*JVM, "-cp", f"{jars()}/*", *arguments]

    def start(self, deadline=90.0):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("kafka.Kafka", str(self.properties)), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory
            )
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        until(lambda: self._answers(admin), "broker answers", deadline, self._alive)
        return self

    def _answers(self, admin):
        try:
            return bool(admin.list_topics(timeout=0.5).brokers)
        except KafkaException:
            return False

    def _alive(self):
        assert self.process.poll() is None, f"the broker is gone\n{self.log.read_text()[-3000:]}"

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def create(self, *topics, partitions=4):
        admin = AdminClient({"bootstrap.servers": self.address})
        config = {"max.message.bytes": str(MESSAGE_BYTES_MAX)}
        wanted = [NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config) for topic in topics]
        for future in admin.create_topics(wanted).values():
            future.result(30)
        return list(topics)

    def delete(self, topic):
        """Deletes a topic, and waits until the broker has forgotten it, so that it can be made anew."""
        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.delete_topics([topic]).values():
            future.result(30)
        until(lambda: topic not in admin.list_topics(timeout=10).topics, f"{topic} is deleted", 30)

    def cut(self, topic, partition, before):
        """What retention does: the messages of a partition before an offset go."""
        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
            future.result(30)

    def transaction(self, topic, values, commit, name):
        """One transaction of one partition, committed or aborted. Its marker takes an offset."""
        producer = Producer({"bootstrap.servers": self.address, "transactional.id": name, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value=value, partition=0)
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)

    def producer(self, **more):
        return Recorder(
            {
                "bootstrap.servers": self.address,
                "message.max.bytes": MESSAGE_BYTES_MAX - 65536,
                "enable.idempotence": True,
                "linger.ms": 2,
                "compression.type": "zstd",
                "log_level": 0,
                **more,
            }
        )


class Recorder:
    """A producer that remembers which coordinate every message got."""

    def __init__(self, config):
        self.producer = Producer(config)
        self.delivered = {}
        self.failed = []

    def send(self, topic, value, tag=None, headers=None, key=None, partition=None):
        def report(error, message):
            if error is not None:
                self.failed.append((tag, str(error)))
            else:
                self.delivered[(message.topic(), message.partition(), message.offset())] = tag

        more = {} if partition is None else {"partition": partition}
        while True:
            try:
                self.producer.produce(topic, value=value, key=key, headers=headers or [], on_delivery=report, **more)
                break
            except BufferError:
                self.producer.poll(0.1)
        self.producer.poll(0)

    def flush(self, timeout=90):
        left = self.producer.flush(timeout)
        assert left == 0 and not self.failed, f"{left} not delivered, {self.failed[:3]}"
        return self.delivered
