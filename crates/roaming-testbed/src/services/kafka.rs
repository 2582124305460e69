//! Apache Kafka of one node or three.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::folder::Folder;
use super::process::{Server, run, script};
use super::proxy::Proxy;

/// How long a node may take to end.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// File of the credentials of the tools, in the cluster's folder.
const TOOL_PROPERTIES: &str = "tools.properties";

/// What kind of cluster is wanted.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Nodes, each broker and controller in one: 1 or 3.
    pub nodes: u16,
    /// Ways to the nodes beside the direct one, each a [`Proxy`] before every node: who comes by one is
    /// led to all nodes by it.
    pub ways: u16,
    /// Lines of `server.properties` that come after, and so before, those of the script.
    pub properties: String,
    /// Further arguments of the tool that formats the storage: the first SCRAM credentials.
    pub storage_options: String,
    /// Lines of the file of credentials that the command line tools use, where they need one.
    pub tool_properties: String,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            ways: 0,
            properties: String::new(),
            storage_options: String::new(),
            tool_properties: String::new(),
        }
    }
}

/// A cluster; it is gone when dropped.
pub struct Kafka {
    nodes: Vec<Node>,
    bootstrap_servers: String,
    ways: Vec<Vec<Proxy>>,
    // Dropped last: the nodes write into it.
    folder: Folder,
}

/// One node of a cluster.
pub struct Node {
    number: usize,
    folder: PathBuf,
    server: Mutex<Option<Server>>,
}

impl Kafka {
    /// Starts a cluster and waits until every node serves.
    #[track_caller]
    pub fn start(options: &KafkaOptions) -> Self {
        let folder = Folder::create("roaming-kafka-");
        let dir = folder.path();
        let properties = dir.join("further.properties");
        fs::write(&properties, &options.properties).expect("the properties can be written");
        run(script("kafka")
            .arg(dir)
            .arg(options.nodes.to_string())
            .arg(&properties)
            .env("WAYS", options.ways.to_string())
            .env("STORAGE_OPTIONS", &options.storage_options));
        fs::write(dir.join(TOOL_PROPERTIES), &options.tool_properties)
            .expect("the credentials of the tools can be written");
        let bootstrap_servers = fs::read_to_string(dir.join("bootstrap")).expect("addresses");
        let lines = fs::read_to_string(dir.join("ways")).expect("the ports of the ways");
        let ways = (1..=options.ways).map(|way| proxies_of(way, &lines)).collect();
        let nodes: Vec<Node> = (1..=usize::from(options.nodes))
            .map(|number| Node { number, folder: dir.to_owned(), server: Mutex::default() })
            .collect();
        // Controllers serve once a majority of them is there, so that none can be waited for alone.
        std::thread::scope(|scope| {
            for node in &nodes {
                scope.spawn(|| node.start());
            }
        });
        Self { nodes, bootstrap_servers: bootstrap_servers.trim().to_owned(), ways, folder }
    }

    /// Returns one of the ways, counted from 0: a proxy before each node.
    pub fn way(&self, index: usize) -> &[Proxy] {
        &self.ways[index]
    }

    /// Returns all nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the addresses of all nodes, separated by commas.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap_servers.clone()
    }

    /// Returns a node, counted from 0.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Returns the folder of the cluster: a place for files that go with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command line tool of Kafka, by its Java class, and returns what it printed.
    #[track_caller]
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        run(script("kafka-tool").arg(class).args(self.tool_arguments()).args(arguments))
    }

    /// Returns the arguments with which a tool finds the cluster and is let in.
    pub fn tool_arguments(&self) -> Vec<String> {
        let credentials = self.folder().join(TOOL_PROPERTIES);
        let servers = self.bootstrap_servers();
        let credentials = credentials.to_string_lossy().into_owned();
        vec!["--bootstrap-server".to_owned(), servers, "--command-config".to_owned(), credentials]
    }
}

/// Starts the proxies of a way by the lines of `way`, port of the proxy, port of the node's listener.
fn proxies_of(way: u16, lines: &str) -> Vec<Proxy> {
    let of_way = lines.lines().filter_map(|line| {
        let numbers: Vec<u16> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().ok().filter(|[number, ..]: &[u16; 3]| *number == way)
    });
    let proxies = of_way.map(|[_, port, server]| {
        Proxy::start(port, (Ipv4Addr::LOCALHOST, server).into()).expect("a proxy on its port")
    });
    proxies.collect()
}

impl Node {
    /// Starts it, on the same ports and data as before.
    #[track_caller]
    pub fn start(&self) {
        let mut server = self.server();
        assert!(server.is_none(), "node {} runs", self.number);
        let number = self.number.to_string();
        let own = self.folder.join(&number);
        *server = Some(Server::start(
            script("kafka-node").arg(&self.folder).arg(&number),
            &own.join("pid"),
            &own.join("log"),
            "Kafka Server started",
        ));
    }

    /// Ends it in order (SIGTERM).
    #[track_caller]
    pub fn stop(&self) {
        let server = self.server().take().expect("the node runs");
        server.signal("TERM");
        server.wait(STOP_LIMIT);
    }

    /// Ends it at once, as a crash does (SIGKILL).
    #[track_caller]
    pub fn kill(&self) {
        let server = self.server().take().expect("the node runs");
        server.signal("KILL");
        server.wait(STOP_LIMIT);
    }

    /// Lets it stand still (SIGSTOP): its connections stay open and nothing answers.
    #[track_caller]
    pub fn freeze(&self) {
        self.server().as_ref().expect("the node runs").signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    #[track_caller]
    pub fn thaw(&self) {
        self.server().as_ref().expect("the node runs").signal("CONT");
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
