//! Real chaos: runs on the built binaries, Apache Kafka and PostgreSQL, while things happen to all of them.
//!
//! All follows from a seed: which [`Kind`]s of faults ([`Act`]), to whom, for how long. [`run`] starts services
//! and two replicas of each daemon, each behind proxies of its own and with a clock of its own, loads a run at
//! a pace, and lets the faults happen one after the other, each when all have recovered from the one before.
//! Then the rest of the run goes by at full speed, and is proved: `verify` holds, the topic has the engine's
//! bytes, and the store dropped as many records as the topic repeats.
//!
//! What cannot be made good, a topic that is deleted and a retention that overtakes the consumers, must be told:
//! [`lose`] demands the exact words, the exact number and the exit status.
//!
//! **Recovery** is measured from outside: at the fault, or where it ends, Kafka is asked how long each
//! partition is, and from then on PostgreSQL how much of it is counted. The platform has recovered when
//! something is counted in every partition that came after. A lane has the same number of partition where its
//! owner is decided and where its events go, so that a producer's lanes are seen there too.

mod clock;
mod kind;
mod loaded;
mod loss;
mod recovery;
mod replica;
mod round;
mod stage;
mod tally;

pub use kind::{Form, Kind, Since};
pub use loss::{Loss, Told, lose};
pub use recovery::counted_anew;
pub use round::{Act, Proof, run};
pub use tally::Tally;
