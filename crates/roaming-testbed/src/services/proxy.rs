//! A way to a server that is cut, held up and slowed down at will.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Octets that are passed on at once.
const CHUNK: usize = 1 << 16;
/// Chunks of one direction that are on their way; who sends more waits.
const CHUNKS_MAX: usize = 64;

/// Passes connections on to a server, for as long as it is kept.
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the connections share.
struct Line {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    condition: Condition,
    delay: Duration,
    /// Both ends of each connection, so that it can be ended.
    connections: BTreeMap<u64, [TcpStream; 2]>,
    connections_made: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Whole,
    Cut,
    Held,
    AnswersLost,
    /// The proxy is dropped.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Asking,
    Answering,
}

impl Proxy {
    /// Listens on a port of this machine, 0 for any free one, and passes on to `server`.
    ///
    /// # Errors
    /// Fails where the port is taken, and where there is no thread.
    pub fn start(port: u16, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State {
            condition: Condition::Whole,
            delay: Duration::ZERO,
            connections: BTreeMap::new(),
            connections_made: 0,
        });
        let line = Arc::new(Line { server, state, changed: Condvar::new() });
        let accepting = Arc::clone(&line);
        let acceptor = thread::Builder::new().spawn(move || accepting.accept(&listener))?;
        Ok(Self { address, line, acceptor: Some(acceptor) })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and each new one at once.
    pub fn cut(&self) {
        self.line.turn(Condition::Cut);
    }

    /// Keeps all that is sent, in both directions, until [`heal`](Self::heal): connections stay open, as
    /// where a cable is pulled for a while.
    pub fn hold(&self) {
        self.line.turn(Condition::Held);
    }

    /// Passes on what is asked and throws the answers away; connections stay open until
    /// [`heal`](Self::heal), which ends them: a stream with a hole is of no more use.
    pub fn lose_answers(&self) {
        self.line.turn(Condition::AnswersLost);
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.line.turn(Condition::Whole);
    }

    /// Lets each octet take so much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.line.state().delay = delay;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.turn(Condition::Gone);
        // Its thread waits for one more connection.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, condition: Condition) {
        let mut state = self.state();
        let has_holes = state.condition == Condition::AnswersLost;
        state.condition = condition;
        if has_holes || matches!(condition, Condition::Cut | Condition::Gone) {
            for end in state.connections.values().flatten() {
                // It may have been ended by whoever is there.
                let _ = end.shutdown(Shutdown::Both);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.state().condition == Condition::Gone {
                return;
            }
            // Who cannot be passed on is told by the end of the connection.
            let _ = client.and_then(|client| self.connect(client));
        }
    }

    /// Makes a connection to the server for one of a client, unless the line is cut.
    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let mut state = self.state();
        if matches!(state.condition, Condition::Cut | Condition::Gone) {
            return Ok(());
        }
        let number = state.connections_made;
        state.connections_made += 1;
        state.connections.insert(number, [client.try_clone()?, server.try_clone()?]);
        drop(state);
        let (asking, answering) = (client.try_clone()?, server.try_clone()?);
        self.pass_on(number, asking, server, Direction::Asking)?;
        self.pass_on(number, answering, client, Direction::Answering)
    }

    /// Passes one direction of a connection on, until either end closes it.
    fn pass_on(
        self: &Arc<Self>,
        connection: u64,
        from: TcpStream,
        to: TcpStream,
        direction: Direction,
    ) -> io::Result<()> {
        let (sender, receiver) = sync_channel(CHUNKS_MAX);
        let reading = Arc::clone(self);
        thread::Builder::new().spawn(move || reading.read(from, &sender))?;
        let writing = Arc::clone(self);
        thread::Builder::new()
            .spawn(move || writing.write(connection, to, direction, &receiver))?;
        Ok(())
    }

    fn read(&self, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>) {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            let due = Instant::now() + self.state().delay;
            if sender.send((due, chunk[..length].to_vec())).is_err() {
                return;
            }
        }
    }

    fn write(
        &self,
        connection: u64,
        mut to: TcpStream,
        direction: Direction,
        receiver: &Receiver<(Instant, Vec<u8>)>,
    ) {
        for (due, chunk) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let is_lost =
                self.condition() == Condition::AnswersLost && direction == Direction::Answering;
            if !is_lost && to.write_all(&chunk).is_err() {
                break;
            }
        }
        // What one direction ends the other one hears, and ends too.
        if let Some(ends) = self.state().connections.remove(&connection) {
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Returns the condition of the line as soon as it is not held.
    fn condition(&self) -> Condition {
        let state = self.state();
        self.changed
            .wait_while(state, |state| state.condition == Condition::Held)
            .unwrap_or_else(PoisonError::into_inner)
            .condition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long nothing must come, to be believed not to come.
    const SILENCE: Duration = Duration::from_millis(200);
    const LIMIT: Duration = Duration::from_secs(10);

    /// A server that answers what it is asked, and a client's connection to it through a proxy.
    fn connected() -> io::Result<(Proxy, TcpStream)> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Proxy::start(0, server.local_addr()?)?;
        thread::spawn(move || {
            for connection in server.incoming() {
                let mut connection = connection?;
                thread::spawn(move || io::copy(&mut connection.try_clone()?, &mut connection));
            }
            io::Result::Ok(())
        });
        let mut client = TcpStream::connect(proxy.address())?;
        assert_eq!(answer(&mut client, b"before", LIMIT)?, b"before");
        Ok((proxy, client))
    }

    /// Asks, and returns what came within `limit`.
    fn answer(client: &mut TcpStream, ask: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
        client.write_all(ask)?;
        heard(client, limit)
    }

    fn heard(client: &mut TcpStream, limit: Duration) -> io::Result<Vec<u8>> {
        client.set_read_timeout(Some(limit))?;
        let mut chunk = vec![0; 100];
        let length = client.read(&mut chunk)?;
        chunk.truncate(length);
        Ok(chunk)
    }

    #[test]
    fn a_cut_line_ends_connections_old_and_new() -> io::Result<()> {
        let (proxy, mut client) = connected()?;
        proxy.cut();
        assert!(heard(&mut client, LIMIT).is_ok_and(|chunk| chunk.is_empty()));
        let mut late = TcpStream::connect(proxy.address())?;
        assert!(answer(&mut late, b"cut", LIMIT).map_or(true, |chunk| chunk.is_empty()));
        proxy.heal();
        let mut client = TcpStream::connect(proxy.address())?;
        assert_eq!(answer(&mut client, b"after", LIMIT)?, b"after");
        Ok(())
    }

    #[test]
    fn what_was_held_comes_later_on_the_same_connection() -> io::Result<()> {
        let (proxy, mut client) = connected()?;
        proxy.hold();
        assert!(answer(&mut client, b"held", SILENCE).is_err());
        proxy.heal();
        assert_eq!(heard(&mut client, LIMIT)?, b"held");
        Ok(())
    }

    #[test]
    fn lost_answers_leave_the_connection_open_until_it_is_healed() -> io::Result<()> {
        let (proxy, mut client) = connected()?;
        proxy.lose_answers();
        assert!(answer(&mut client, b"lost", SILENCE).is_err());
        proxy.heal();
        assert!(heard(&mut client, LIMIT).is_ok_and(|chunk| chunk.is_empty()));
        Ok(())
    }

    #[test]
    fn a_delay_is_added_in_each_direction() -> io::Result<()> {
        let (proxy, mut client) = connected()?;
        proxy.delay(SILENCE);
        let start = Instant::now();
        assert_eq!(answer(&mut client, b"slow", LIMIT)?, b"slow");
        assert!(start.elapsed() >= 2 * SILENCE);
        Ok(())
    }
}
