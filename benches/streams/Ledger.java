import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * What a team would build on Kafka Streams in place of the write path: validate a CDEvent, hash it, leave out what was seen, keep
 * what runs where, and write an entry with the body to a topic, exactly once.
 *
 * Arguments: bootstrap servers, source topic, topic of entries, state directory.
 */
public final class Ledger {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws InterruptedException {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, "ledger");
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.STATE_DIR_CONFIG, arguments[3]);
        config.put("auto.offset.reset", "earliest");
        Topology topology = new Topology();
        topology.addSource("events", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), arguments[1]);
        topology.addProcessor("ledger", Fold::new, "events");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("known"), Serdes.ByteArray(), Serdes.ByteArray()), "ledger");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("running"), Serdes.String(), Serdes.String()), "ledger");
        topology.addSink("entries", arguments[2], Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(), "ledger");
        KafkaStreams streams = new KafkaStreams(topology, config);
        CountDownLatch stopped = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            stopped.countDown();
        }));
        streams.start();
        stopped.await();
    }

    private static final class Fold implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> known;
        private KeyValueStore<String, String> running;
        private MessageDigest sha256;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            known = context.getStateStore("known");
            running = context.getStateStore("running");
            try {
                sha256 = MessageDigest.getInstance("SHA-256");
            } catch (java.security.NoSuchAlgorithmException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                JsonNode event = JSON.readTree(record.value());
                JsonNode about = event.required("context");
                String id = about.required("id").textValue();
                String source = about.required("source").textValue();
                String type = about.required("type").textValue();
                Instant time = Instant.parse(about.required("timestamp").textValue());
                JsonNode content = event.required("subject").required("content");
                String artifact = content.required("artifactId").textValue();
                String service = content.required("environment").required("id").textValue() + "/" + event.required("subject").required("id").textValue();
                byte[] digest = sha256.digest(record.value());
                sha256.update(source.getBytes());
                sha256.update((byte) 0);
                byte[] key = sha256.digest(id.getBytes());
                if (known.putIfAbsent(key, digest) != null) {
                    return;
                }
                running.put(service, artifact);
                ObjectNode entry = JSON.createObjectNode();
                entry.put("id", id).put("source", source).put("type", type).put("occurredAt", time.toString());
                entry.put("subject", artifact).put("bodyDigest", HexFormat.of().formatHex(digest));
                byte[] leaf = JSON.writeValueAsBytes(entry);
                byte[] whole = new byte[leaf.length + record.value().length];
                System.arraycopy(leaf, 0, whole, 0, leaf.length);
                System.arraycopy(record.value(), 0, whole, leaf.length, record.value().length);
                context.forward(record.withKey(key).withValue(whole));
            } catch (java.io.IOException | IllegalArgumentException | java.time.DateTimeException e) {
                context.forward(record.withKey(new byte[0]));
            }
        }
    }
}
