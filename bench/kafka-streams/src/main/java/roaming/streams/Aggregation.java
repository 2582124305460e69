package roaming.streams;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Drops what was counted before, by lane, and adds the rest to the rows of its partition: like roaming-consumer's,
 * rows of different partitions are summed by who reads them, so that nothing is sent through a topic once more.
 */
final class Aggregation implements Processor<byte[], byte[], Void, Void> {
    static final String LANES = "lanes";
    static final String ROWS = "rows";

    /** What all partitions of this process have counted. */
    static final class Progress {
        final AtomicLong events = new AtomicLong();
        final AtomicLong rows = new AtomicLong();
        final CountDownLatch done = new CountDownLatch(1);
        private final long wanted;

        Progress(long wanted) {
            this.wanted = wanted;
        }

        void event() {
            if (events.incrementAndGet() == wanted) {
                done.countDown();
            }
        }
    }

    private final Progress progress;
    private final long windowMs;
    /** By lane, the sequence that comes next. */
    private KeyValueStore<String, Long> lanes;
    private KeyValueStore<RowKey, Totals> rows;

    Aggregation(Progress progress, long windowMs) {
        this.progress = progress;
        this.windowMs = windowMs;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        lanes = context.getStateStore(LANES);
        rows = context.getStateStore(ROWS);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Key key = Key.read(record.key());
        Long next = lanes.get(key.lane());
        if (key.sequence() != (next == null ? 0 : next)) {
            // A marker, or a record that was counted before. A gap would be a fault of the producer.
            return;
        }
        lanes.put(key.lane(), key.sequence() + 1);
        Event event;
        try {
            event = Event.read(record.value());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        if (event.type.equals("end")) {
            return;
        }
        RowKey row = new RowKey(
                key.run(),
                event.eventTimeMs - Math.floorMod(event.eventTimeMs, windowMs),
                event.homePlmn,
                event.visitedPlmn,
                event.rat,
                event.type,
                event.outcome);
        Totals totals = rows.get(row);
        if (totals == null) {
            totals = new Totals();
            progress.rows.incrementAndGet();
        }
        totals.add(event);
        rows.put(row, totals);
        progress.event();
    }
}
