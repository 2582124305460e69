package roaming.streams;

import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** What an aggregate row is about. */
record RowKey(
        String run, long windowStartMs, String homePlmn, String visitedPlmn, String rat, String procedure, String outcome) {

    static Serde<RowKey> serde() {
        Deserializer<RowKey> reader = (topic, octets) -> {
            if (octets == null) {
                return null;
            }
            String[] parts = new String(octets, StandardCharsets.US_ASCII).split("\\|");
            return new RowKey(parts[0], Long.parseLong(parts[1]), parts[2], parts[3], parts[4], parts[5], parts[6]);
        };
        return Serdes.serdeFrom((topic, key) -> key.octets(), reader);
    }

    private byte[] octets() {
        String text = run + '|' + windowStartMs + '|' + homePlmn + '|' + visitedPlmn + '|' + rat + '|' + procedure + '|'
                + outcome;
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
