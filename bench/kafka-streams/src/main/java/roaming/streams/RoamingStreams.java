package roaming.streams;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/**
 * Counts so many events of the topic roaming.events into rows, exactly once, and prints what it took as JSON.
 *
 * <p>Arguments: bootstrap servers, application id, folder of the state, number of events.
 */
public final class RoamingStreams {
    private static final long WINDOW_MS = Duration.ofMinutes(15).toMillis();
    /** The pause between two checkpoints of roaming-consumer by default. */
    private static final long COMMIT_INTERVAL_MS = 200;

    private static final Duration LIMIT = Duration.ofMinutes(5);

    private RoamingStreams() { }

    public static void main(String[] arguments) throws Exception {
        Aggregation.Progress progress = new Aggregation.Progress(Long.parseLong(arguments[3]));
        CountDownLatch running = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(topology(progress), settings(arguments));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            progress.done.countDown();
            running.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((state, before) -> {
            if (state == KafkaStreams.State.RUNNING) {
                running.countDown();
            }
        });
        streams.start();
        running.await();
        long begin = System.nanoTime();
        long cpuBefore = cpuNs();
        boolean isDone = progress.done.await(LIMIT.toSeconds(), TimeUnit.SECONDS);
        // Closing commits what is counted.
        boolean isClosed = streams.close(LIMIT);
        double seconds = (System.nanoTime() - begin) / 1e9;
        System.out.printf(
                "{\"seconds\":%f,\"cpu\":{\"kafka streams\":%d},\"memory_kib\":%d,\"events\":%d,\"rows\":%d}%n",
                seconds,
                (cpuNs() - cpuBefore) / 1000,
                memoryKib(),
                progress.events.get(),
                progress.rows.get());
        System.exit(isDone && isClosed ? 0 : 1);
    }

    private static Topology topology(Aggregation.Progress progress) {
        return new Topology()
                .addSource("events", "roaming.events")
                .addProcessor("aggregation", () -> new Aggregation(progress, WINDOW_MS), "events")
                .addStateStore(
                        Stores.keyValueStoreBuilder(
                                        Stores.persistentKeyValueStore(Aggregation.LANES),
                                        Serdes.String(),
                                        Serdes.Long())
                                .withCachingEnabled(),
                        "aggregation")
                .addStateStore(
                        Stores.keyValueStoreBuilder(
                                        Stores.persistentKeyValueStore(Aggregation.ROWS),
                                        RowKey.serde(),
                                        Totals.serde())
                                .withCachingEnabled(),
                        "aggregation");
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, COMMIT_INTERVAL_MS);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        // Room for all rows that are open, so that only commits write to RocksDB and to the changelog.
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        return settings;
    }

    private static long cpuNs() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }

    /** The most memory that was resident, in KiB. */
    private static long memoryKib() throws IOException {
        try (var lines = Files.lines(Path.of("/proc/self/status"))) {
            String line = lines.filter(each -> each.startsWith("VmHWM:")).findFirst().orElseThrow();
            return Long.parseLong(line.replaceAll("\\D", ""));
        }
    }
}
