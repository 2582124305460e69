package roaming.streams;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** Sums over the events of a row: those of roaming-events/src/totals.rs. */
final class Totals {
    private static final long[] LATENCY_BOUNDS_US = {
        10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000, 150_000, 200_000, 280_000, 400_000, 700_000,
        1_000_000, 2_000_000, 5_000_000
    };
    /** Events, latency, duration, octets up and down, charge; then the latency buckets. */
    private static final int BUCKETS = 6;

    private final long[] sums = new long[BUCKETS + LATENCY_BOUNDS_US.length + 1];

    void add(Event event) {
        sums[0] += 1;
        sums[1] += event.latencyUs;
        sums[2] += event.durationS;
        sums[3] += event.octetsUplink;
        sums[4] += event.octetsDownlink;
        sums[5] += event.chargeMillionths();
        int bucket = 0;
        while (bucket < LATENCY_BOUNDS_US.length && LATENCY_BOUNDS_US[bucket] < event.latencyUs) {
            bucket++;
        }
        sums[BUCKETS + bucket] += 1;
    }

    static Serde<Totals> serde() {
        Deserializer<Totals> reader = (topic, octets) -> {
            if (octets == null) {
                return null;
            }
            Totals totals = new Totals();
            ByteBuffer.wrap(octets).asLongBuffer().get(totals.sums);
            return totals;
        };
        return Serdes.serdeFrom((topic, totals) -> totals.octets(), reader);
    }

    private byte[] octets() {
        ByteBuffer buffer = ByteBuffer.allocate(Long.BYTES * sums.length);
        buffer.asLongBuffer().put(sums);
        return buffer.array();
    }
}
