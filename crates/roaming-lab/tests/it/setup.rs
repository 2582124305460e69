//! A lab in a folder of its own, on free ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use roaming_lab::{Lab, LabConfig, LabError};
use roaming_producer::commands::LoadArgs;
use tokio_util::sync::CancellationToken;

/// No run here takes longer, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_mins(4);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) fn config(dir: &Path) -> LabConfig {
    LabConfig { listen: ANY_PORT, producer_listen: ANY_PORT, dir: dir.to_owned(), stall: None }
}

pub(crate) async fn start(config: LabConfig) -> Result<Lab, LabError> {
    tokio::time::timeout(DEADLINE, Lab::start(config, CancellationToken::new()))
        .await
        .expect("a lab starts within the deadline")
}

/// The demo with a tenth of its subscribers, in `dir`.
pub(crate) fn small_demo(dir: &Path) -> LoadArgs {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }
    let (_, demo) = roaming_sim::profile::BUILTIN[0];
    let line = demo.lines().find(|line| line.starts_with("subscribers:")).expect("a count");
    let count: u32 = line["subscribers:".len()..].trim().replace('_', "").parse().expect("plain");
    let path = dir.join("small.yaml");
    std::fs::write(&path, demo.replace(line, &format!("subscribers: {}", count / 10)))
        .expect("the folder is ours");
    let path = path.to_str().expect("a plain path");
    Line::parse_from(["load", "--profile", path, "--speed", "max"]).load
}
