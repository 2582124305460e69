package roaming.streams;

import java.nio.charset.StandardCharsets;

/** The event id in a message key: {@code RRRRRRRR-RRRR-8LLL-BRRR-SSSSSSSSSSSS}. */
record Key(String run, String lane, long sequence) {
    /** The sequence of a marker, which has none. */
    static final long NO_SEQUENCE = 0xffff_ffff_ffffL;

    static Key read(byte[] octets) {
        String text = new String(octets, StandardCharsets.US_ASCII);
        String run = text.substring(0, 13) + text.substring(19, 23);
        return new Key(run, run + text.substring(15, 18), Long.parseLong(text, 24, 36, 16));
    }
}
