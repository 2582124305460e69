//! Aggregate rows in the binary format of `COPY`
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format").

use roaming_events::{RowKey, RunId, Totals};

use crate::sql::{KEY_COLUMNS, SUMS, count, run_number, sums};

/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands in place of the number of columns after the last row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Columns of a row: partition, run, the other columns of its key, sums.
const COLUMNS: u16 = (2 + KEY_COLUMNS.len() + SUMS) as u16;
/// The most rows of one message: about 300 octets each.
const ROWS_PER_MESSAGE: usize = 1024;

/// Returns the messages that carry `rows`: partition and run, then `KEY_COLUMNS`, `SUM_COLUMNS` and
/// `LATENCY_COLUMNS`.
pub(super) fn encode(
    partition: u16,
    rows: &[(RunId, RowKey, Totals)],
) -> impl Iterator<Item = Vec<u8>> {
    let messages = rows.chunks(ROWS_PER_MESSAGE).map(move |chunk| {
        let mut message = Message(Vec::new());
        for (run, key, totals) in chunk {
            message.row(partition, *run, key, totals);
        }
        message.0
    });
    std::iter::once(HEADER.to_vec()).chain(messages).chain([TRAILER.to_vec()])
}

struct Message(Vec<u8>);

impl Message {
    fn row(&mut self, partition: u16, run: RunId, key: &RowKey, totals: &Totals) {
        self.0.extend(COLUMNS.to_be_bytes());
        self.integer(partition.into());
        self.integer(run_number(run));
        self.integer(count(key.window_start.unix_ms()));
        self.text(&key.home_plmn.to_string());
        self.text(&key.visited_plmn.to_string());
        self.text(key.rat.as_str());
        self.text(key.procedure.as_str());
        self.text(key.outcome.as_str());
        for sum in sums(totals) {
            self.integer(sum);
        }
    }

    fn integer(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    fn field(&mut self, octets: &[u8]) {
        self.0.extend((octets.len() as u32).to_be_bytes());
        self.0.extend(octets);
    }
}
