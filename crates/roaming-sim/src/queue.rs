//! The queue of a lane: which node wakes when.
//!
//! A hierarchical timing wheel (Varghese and Lauck 1987) of three levels with intrusive links: eight
//! octets a node, no allocation when a node is scheduled. A node moves at most twice before its slot
//! comes; the slot that has come is sorted, so that nodes leave by (time, node).

/// The time of a node, in milliseconds since the run's start.
pub(crate) type Tick = u32;

/// Milliseconds of a slot of the lowest level, as a power of two: about one node in a slot at the
/// usual rates of a lane, and empty slots are skipped 64 at a time.
const SLOT_BITS: u32 = 6;
/// Slots of the two lower levels, as a power of two.
const LEVEL_BITS: u32 = 10;
const SLOTS: usize = 1 << LEVEL_BITS;
/// Slots of the highest level; with it the wheel spans all of [`Tick`].
const TOP_SLOTS: usize = 1 << (Tick::BITS - SLOT_BITS - 2 * LEVEL_BITS);
/// No node.
const NONE: u32 = u32::MAX;

/// A timing wheel over nodes, numbered from 0. Each is scheduled at most once at a time.
#[derive(Debug)]
pub(crate) struct Queue {
    links: Vec<Link>,
    near: Level<SLOTS, { SLOTS / 64 }>,
    far: Level<SLOTS, { SLOTS / 64 }>,
    top: Level<TOP_SLOTS, 1>,
    /// Nodes of the slot that has come, latest first: `due << 32 | node`.
    current: Vec<u64>,
    /// The lowest-level slot that `current` holds, counted from the start.
    slot: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    due: Tick,
    next: u32,
}

/// A ring of slots, each the head of a list, and which of them have one.
#[derive(Debug)]
struct Level<const N: usize, const WORDS: usize> {
    /// On the heap: a lane that is moved does not move its slots.
    heads: Box<[u32; N]>,
    occupied: [u64; WORDS],
}

impl Queue {
    /// Makes a queue for `nodes` nodes; [`Queue::add_node`] adds more.
    pub(crate) fn new(nodes: u32) -> Self {
        Self {
            links: vec![Link { due: 0, next: NONE }; nodes as usize],
            near: Level::new(),
            far: Level::new(),
            top: Level::new(),
            current: Vec::new(),
            slot: 0,
            len: 0,
        }
    }

    /// Makes a queue that has come to `slot`, with the nodes' times; see [`Queue::due`].
    pub(crate) fn restore(slot: u32, due: &[Option<Tick>]) -> Self {
        let mut queue = Self::new(due.len() as u32);
        queue.slot = slot;
        for (node, due) in (0..).zip(due) {
            if let Some(due) = due {
                queue.schedule(node, *due);
            }
        }
        queue
    }

    /// Whether there is such a slot.
    pub(crate) fn has_slot(slot: u32) -> bool {
        slot <= Tick::MAX >> SLOT_BITS
    }

    /// Returns the slot that it has come to.
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// Returns for each node when it is due; `None` where it is not scheduled.
    pub(crate) fn due(&self) -> Vec<Option<Tick>> {
        let mut times = vec![None; self.links.len()];
        for entry in &self.current {
            times[*entry as u32 as usize] = Some((entry >> 32) as Tick);
        }
        let heads = self.near.heads.iter().chain(&*self.far.heads).chain(&*self.top.heads);
        for &head in heads {
            let mut node = head;
            while node != NONE {
                let Link { due, next } = self.links[node as usize];
                times[node as usize] = Some(due);
                node = next;
            }
        }
        times
    }

    /// Adds a node and returns its number.
    pub(crate) fn add_node(&mut self) -> u32 {
        grow_gently(&mut self.links);
        self.links.push(Link { due: 0, next: NONE });
        self.links.len() as u32 - 1
    }

    /// Schedules a node that is not scheduled. A time that has passed counts as the present slot.
    pub(crate) fn schedule(&mut self, node: u32, due: Tick) {
        self.len += 1;
        let slot = due >> SLOT_BITS;
        if slot <= self.slot {
            let entry = u64::from(due) << 32 | u64::from(node);
            let place = self.current.partition_point(|other| *other > entry);
            self.current.insert(place, entry);
        } else {
            self.links[node as usize].due = due;
            self.place(node, slot);
        }
    }

    /// Takes the first node that is due before `until`, with its time.
    pub(crate) fn pop_before(&mut self, until: u64) -> Option<(Tick, u32)> {
        while self.current.is_empty() {
            if self.len == 0 || u64::from(self.slot + 1) << SLOT_BITS >= until {
                return None;
            }
            self.advance();
        }
        let entry = *self.current.last()?;
        if entry >> 32 >= until {
            return None;
        }
        self.current.pop();
        self.len -= 1;
        Some(((entry >> 32) as Tick, entry as u32))
    }

    /// Returns a time before which no node is due.
    pub(crate) fn lower_bound(&self) -> u64 {
        match self.current.last() {
            Some(entry) => entry >> 32,
            None => u64::from(self.slot + 1) << SLOT_BITS,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a node that is due after the present slot into its list.
    fn place(&mut self, node: u32, slot: u32) {
        let link = &mut self.links[node as usize].next;
        if slot >> LEVEL_BITS == self.slot >> LEVEL_BITS {
            self.near.push(slot as usize % SLOTS, node, link);
        } else if slot >> (2 * LEVEL_BITS) == self.slot >> (2 * LEVEL_BITS) {
            self.far.push((slot >> LEVEL_BITS) as usize % SLOTS, node, link);
        } else {
            self.top.push((slot >> (2 * LEVEL_BITS)) as usize, node, link);
        }
    }

    /// Moves on to the next slot that holds a node, or to the border of a level where lists are dealt
    /// out anew. There must be a node.
    fn advance(&mut self) {
        let within = self.slot as usize % SLOTS;
        if let Some(slot) = self.near.next_after(within) {
            self.slot = self.slot & !(SLOTS as u32 - 1) | slot as u32;
            self.drain_near(slot);
            return;
        }
        let within = (self.slot >> LEVEL_BITS) as usize % SLOTS;
        let far = if let Some(far) = self.far.next_after(within) {
            (self.slot >> (2 * LEVEL_BITS)) << LEVEL_BITS | far as u32
        } else {
            let top = self
                .top
                .next_after((self.slot >> (2 * LEVEL_BITS)) as usize)
                .expect("a node is scheduled, and it is on one of the three levels");
            self.slot = (top as u32) << (2 * LEVEL_BITS);
            let head = self.top.take(top);
            self.deal(head);
            (top as u32) << LEVEL_BITS
        };
        self.slot = far << LEVEL_BITS;
        let head = self.far.take(far as usize % SLOTS);
        self.deal(head);
        self.drain_near(0);
    }

    /// Deals a list of a higher level out to the levels below.
    fn deal(&mut self, mut node: u32) {
        while node != NONE {
            let Link { due, next } = self.links[node as usize];
            self.place(node, due >> SLOT_BITS);
            node = next;
        }
    }

    fn drain_near(&mut self, slot: usize) {
        let mut node = self.near.take(slot);
        while node != NONE {
            let Link { due, next } = self.links[node as usize];
            self.current.push(u64::from(due) << 32 | u64::from(node));
            node = next;
        }
        self.current.sort_unstable_by(|a, b| b.cmp(a));
    }
}

impl<const N: usize, const WORDS: usize> Level<N, WORDS> {
    fn new() -> Self {
        Self { heads: Box::new([NONE; N]), occupied: [0; WORDS] }
    }

    fn push(&mut self, slot: usize, node: u32, link: &mut u32) {
        *link = self.heads[slot];
        self.heads[slot] = node;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn take(&mut self, slot: usize) -> u32 {
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        std::mem::replace(&mut self.heads[slot], NONE)
    }

    /// Returns the first occupied slot after `slot`.
    fn next_after(&self, slot: usize) -> Option<usize> {
        let first = slot + 1;
        let mut word = first / 64;
        let mut bits = *self.occupied.get(word)? & (u64::MAX << (first % 64));
        while bits == 0 {
            word += 1;
            bits = *self.occupied.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

/// Makes room for one more by an eighth at a time: doubling would double what a subscriber costs.
pub(crate) fn grow_gently<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len() / 8 + 16);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs a schedule of (node's first time, delays at which it comes back) on the wheel and on a
    /// sorted set.
    fn model(start: &[(Tick, Vec<u32>)]) -> [Vec<(Tick, u32)>; 2] {
        let mut queue = Queue::new(start.len() as u32);
        let mut sorted = std::collections::BTreeSet::new();
        for (node, (due, _)) in start.iter().enumerate() {
            queue.schedule(node as u32, *due);
            sorted.insert((*due, node as u32));
        }
        let mut returns: Vec<_> = start.iter().map(|(_, delays)| delays.iter()).collect();
        let mut found = Vec::new();
        while let Some((due, node)) = queue.pop_before(u64::MAX) {
            found.push((due, node));
            if let Some(delay) = returns[node as usize].next() {
                queue.schedule(node, due.saturating_add(*delay));
            }
        }
        let mut returns: Vec<_> = start.iter().map(|(_, delays)| delays.iter()).collect();
        let mut expected = Vec::new();
        while let Some((due, node)) = sorted.pop_first() {
            expected.push((due, node));
            if let Some(delay) = returns[node as usize].next() {
                sorted.insert((due.saturating_add(*delay), node));
            }
        }
        assert!(queue.is_empty());
        [found, expected]
    }

    proptest! {
        #[test]
        fn nodes_leave_as_from_a_sorted_set(
            start in proptest::collection::vec(
                (any::<u32>(), proptest::collection::vec(prop_oneof![0u32..200, 0u32..200_000, any::<u32>()], 0..8)),
                0..40,
            )
        ) {
            let [found, expected] = model(&start);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn nothing_leaves_before_its_time() {
        let mut queue = Queue::new(2);
        queue.schedule(0, 70_000);
        queue.schedule(1, 5);
        assert_eq!(queue.pop_before(5), None);
        assert_eq!(queue.pop_before(6), Some((5, 1)));
        assert_eq!(queue.pop_before(70_000), None);
        assert!(queue.lower_bound() <= 70_000);
        assert_eq!(queue.pop_before(70_001), Some((70_000, 0)));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_node_can_be_scheduled_for_the_present_moment() {
        let mut queue = Queue::new(1);
        queue.schedule(0, 100_000);
        assert_eq!(queue.pop_before(u64::MAX), Some((100_000, 0)));
        queue.schedule(0, 100_000);
        assert_eq!(queue.pop_before(u64::MAX), Some((100_000, 0)));
    }
}
