//! What a consumer asks of store and broker, done step by step.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use roaming_analytics::Checkpoint;
use roaming_consumer::desk::{
    Answer, Desk, Ends, JobError, Request, TakenOver, Ticket, What, Written,
};
use roaming_consumer::{DeadLetter, KnownRuns};
use roaming_events::RunId;
use roaming_service::kafka::ClientError;
use roaming_store::{Acquired, RunRow};

use super::World;
use super::consumers::Topics;
use super::report::Finding;
use crate::store::{Epoch, StoreError};

/// Questions as they were asked; clones share them.
#[derive(Clone, Default)]
pub(super) struct Questions {
    asked: Rc<RefCell<Vec<(Ticket, Request)>>>,
}

impl Desk for Questions {
    fn ask(&self, ticket: Ticket, request: Request) {
        self.asked.borrow_mut().push((ticket, request));
    }
}

/// A question on its way, or its answer.
pub(super) enum Job {
    Asked(Ticket, Request),
    /// Its dead letters are written.
    Writing {
        ticket: Ticket,
        epoch: Epoch,
        checkpoint: Box<Checkpoint>,
        letters: usize,
    },
    Done(Answer),
}

impl Questions {
    pub(super) fn take(&self) -> impl Iterator<Item = Job> {
        let asked = mem::take(&mut *self.asked.borrow_mut());
        asked.into_iter().map(|(ticket, request)| Job::Asked(ticket, request))
    }
}

impl Job {
    /// Goes on by one step.
    pub(super) fn step(
        self,
        world: &mut World<'_>,
        topics: &mut Topics,
        runs: &KnownRuns,
    ) -> Result<Self, Finding> {
        let (ticket, what) = match self {
            Self::Done(answer) => return Ok(Self::Done(answer)),
            Self::Writing { ticket, epoch, checkpoint, letters } => {
                let result = topics.commit(world, epoch, &checkpoint)?;
                let partition = checkpoint.partition;
                let result = result.map_err(|error| job_error(partition, &error));
                (ticket, What::Written(written(result, letters, Vec::new())))
            }
            Self::Asked(ticket, Request::Write { epoch, checkpoint, letters }) => {
                if !letters.is_empty() && is_cut_off(world) {
                    world.report.count("dead letters refused");
                    let result = Err(JobError::DeadLetters(unreachable_broker()));
                    (ticket, What::Written(written(result, 0, letters)))
                } else {
                    topics.dead_letters.extend(letters.iter().map(|l| (l.partition, l.offset)));
                    let epoch = Epoch(epoch.number().cast_unsigned());
                    let letters = letters.len();
                    return Ok(Self::Writing { ticket, epoch, checkpoint, letters });
                }
            }
            Self::Asked(ticket, request) => (ticket, answer(request, world, topics, runs)),
        };
        Ok(Self::Done(Answer { ticket, what }))
    }
}

fn answer(request: Request, world: &mut World<'_>, topics: &mut Topics, runs: &KnownRuns) -> What {
    match request {
        Request::Acquire { partition } => What::Acquired(acquire(world, topics, partition)),
        Request::Load { partition, keys } => {
            What::Rows(match world.store.load_rows(partition, &keys) {
                Ok(rows) => {
                    world.report.add("row reloaded", rows.len() as u64);
                    Ok(rows)
                }
                Err(error) => {
                    world.report.count("reload failed");
                    Err(job_error(partition, &error))
                }
            })
        }
        Request::Learn { partition } => {
            world.report.count("unknown run");
            What::Learned(if is_cut_off(world) {
                Err(JobError::Client(unreachable_broker()))
            } else {
                let end = world.log.end(partition);
                know_runs(world, runs, |_| true);
                Ok(end)
            })
        }
        Request::Measure { partition } => What::Ends(if is_cut_off(world) {
            Err(timed_out())
        } else {
            Ok(ends(world, partition))
        }),
        Request::Look => What::Looked(Ok(ends(world, 0))),
        _ => What::Answered(Ok(())),
    }
}

fn acquire(
    world: &mut World<'_>,
    topics: &mut Topics,
    partition: u16,
) -> Result<TakenOver, JobError> {
    let (epoch, snapshot) = world.store.acquire(partition).map_err(|error| {
        world.report.count("acquisition failed");
        job_error(partition, &error)
    })?;
    world.trace.note(format!(
        "{}: acquire {partition} as epoch {} at {:?}",
        world.tick, epoch.0, snapshot.next_offset
    ));
    topics.epochs.insert(partition, epoch);
    if is_cut_off(world) {
        world.report.count("acquired in vain");
        return Err(JobError::Client(unreachable_broker()));
    }
    let epoch = roaming_store::Epoch::from_number(epoch.0.cast_signed());
    let acquired = Acquired { epoch, snapshot };
    Ok(TakenOver { acquired, ends: ends(world, partition), has_other_record: false })
}

/// Lets a consumer know runs, as from the control topic.
pub(super) fn know_runs(
    world: &World<'_>,
    runs: &KnownRuns,
    mut is_known: impl FnMut(RunId) -> bool,
) {
    for view in world.scenario.runs().iter().filter(|view| is_known(view.run)) {
        runs.insert(RunRow {
            run: view.run,
            name: view.run.to_string(),
            lanes: view.lanes,
            partitions: view.partitions,
            start: view.start,
            end: world.scenario.end(),
            state: "running".to_owned(),
            specification_json: String::new(),
        });
    }
}

fn ends(world: &World<'_>, partition: u16) -> Ends {
    Ends { low: world.log.start(partition), high: world.log.end(partition) }
}

fn written(result: Result<(), JobError>, letters: usize, letters_left: Vec<DeadLetter>) -> Written {
    Written { result, took: Duration::ZERO, letters_acknowledged: letters, letters_left }
}

fn is_cut_off(world: &mut World<'_>) -> bool {
    world.fault.chance(world.faults.broker_cut_off)
}

fn timed_out() -> KafkaError {
    KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)
}

fn unreachable_broker() -> ClientError {
    ClientError::Unreachable { bootstrap_servers: "simulated".to_owned(), source: timed_out() }
}

fn job_error(partition: u16, error: &StoreError) -> JobError {
    JobError::Store(match error {
        StoreError::Fenced { epoch, .. } => {
            roaming_store::StoreError::Fenced { partition, epoch: epoch.0.cast_signed() }
        }
        StoreError::UnknownOutcome => roaming_store::StoreError::UnknownOutcome {
            partition,
            source: error.to_string().into(),
        },
        _ => roaming_store::StoreError::Unavailable { source: error.to_string().into() },
    })
}
