package roaming.streams;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.Instant;

/** What the aggregation needs of an event; the rest of the payload is skipped. */
final class Event {
    private static final JsonFactory JSON = new JsonFactory();
    private static final long[] POWERS_OF_TEN = {1, 10, 100, 1_000, 10_000, 100_000, 1_000_000};

    String type = "";
    long eventTimeMs;
    String homePlmn;
    String visitedPlmn;
    String rat;
    String outcome;
    long latencyUs;
    long durationS;
    long octetsUplink;
    long octetsDownlink;
    private long charge;
    private int decimalPlaces;

    static Event read(byte[] payload) throws IOException {
        Event event = new Event();
        try (JsonParser json = JSON.createParser(payload)) {
            json.nextToken();
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                String field = json.currentName();
                json.nextToken();
                event.take(field, json);
            }
        }
        return event;
    }

    private void take(String field, JsonParser json) throws IOException {
        switch (field) {
            case "type" -> type = json.getText();
            case "event_time" -> eventTimeMs = Instant.parse(json.getText()).toEpochMilli();
            case "home_plmn" -> homePlmn = json.getText();
            case "visited_plmn" -> visitedPlmn = json.getText();
            case "rat" -> rat = json.getText();
            case "outcome" -> outcome = json.getText();
            case "latency_us" -> latencyUs = json.getLongValue();
            case "duration_s" -> durationS = json.getLongValue();
            case "octets_uplink" -> octetsUplink = json.getLongValue();
            case "octets_downlink" -> octetsDownlink = json.getLongValue();
            case "charge" -> charge = json.getLongValue();
            case "tap_decimal_places" -> decimalPlaces = json.getIntValue();
            default -> { }
        }
    }

    /** The wholesale charge in millionths of a special drawing right. */
    long chargeMillionths() {
        return charge * POWERS_OF_TEN[6 - decimalPlaces];
    }
}
