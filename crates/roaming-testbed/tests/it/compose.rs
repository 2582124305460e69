//! The images and the Compose file fit the programs, and confine what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use roaming_service::config::table::{
    ALL, CONSUMER_LISTEN, JOBS_LISTEN, PRODUCER_GRACE_S, PRODUCER_LISTEN,
};
use roaming_service::config::{Program, Setting};
use roaming_testbed::binaries;
use serde_json::{Value, json};

use crate::observability::files;

const COMPOSE: &str = "docker/docker-compose.yml";
const DOCKERFILE: &str = "docker/Dockerfile";

/// Services that run a program of ours, and which.
const OURS: [(&str, &str); 6] = [
    ("topics", "roaming-producer"),
    ("roaming-producer", "roaming-producer"),
    ("producer", "roaming-producer"),
    ("roaming-consumer", "roaming-consumer"),
    ("consumer", "roaming-consumer"),
    ("jobs", "roaming-jobs"),
];

fn read(path: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).with_context(|| format!("{path} cannot be read"))
}

/// Returns the services by name, with the merged keys of the file's fragments.
fn services() -> Result<BTreeMap<String, Value>> {
    let file: Value = serde_saphyr::from_str(&read(COMPOSE)?)?;
    Ok(serde_json::from_value(file["services"].clone())?)
}

/// Returns each `${NAME:-default}` of a text.
fn variables(text: &str) -> Vec<(&str, &str)> {
    let bodies = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
    bodies.map(|body| body.split_once(":-").unwrap_or((body, ""))).collect()
}

/// Puts a variable's value, or its default where it is not set, in its place.
fn resolved(text: &str, set: &BTreeMap<&str, &str>) -> String {
    variables(text).iter().fold(text.to_owned(), |text, (name, default)| {
        let value = set.get(name).unwrap_or(default);
        text.replace(&format!("${{{name}:-{default}}}"), value)
    })
}

/// Returns a service's variables as the container gets them.
fn environment(service: &Value, set: &BTreeMap<&str, &str>) -> Result<BTreeMap<String, String>> {
    let declared = service["environment"].as_object().context("no variables")?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(declared.iter().map(|(name, value)| (name.clone(), resolved(&text(value), set))).collect())
}

/// Returns the variables that a program takes a value from, of those in its environment.
pub(crate) fn taken(
    program: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeSet<String>> {
    let output = Command::new(binaries::path(program)?)
        .args(["config", "--print", "--format", "json"])
        .env_clear()
        .envs(environment)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} refuses its configuration: {said}");
    let settings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let origins = settings.iter().filter_map(|setting| setting["origin"].as_str());
    Ok(origins.filter_map(|origin| origin.strip_prefix("env ")).map(str::to_owned).collect())
}

#[test]
fn each_variable_of_the_compose_file_reaches_a_setting_of_its_program() -> Result<()> {
    let set = BTreeMap::from([
        ("ROAMING_LOG", "debug"),
        ("ROAMING_LOG_FORMAT", "human"),
        ("ROAMING_PRODUCER_UNREAD_MIB", "8"),
        ("ROAMING_FLUSH_INTERVAL_MS", "500"),
        ("ROAMING_WINDOW_MINUTES", "60"),
        ("ROAMING_KEEP_DAYS", "7"),
        ("ROAMING_S3_ENDPOINT", "https://storage.example"),
        ("ROAMING_S3_REGION", "eu-central-1"),
        ("ROAMING_S3_ACCESS_KEY", "key"),
        ("ROAMING_S3_SECRET_KEY", "secret"),
    ]);
    let services = services()?;
    for (service, program) in OURS {
        let declared = &services[service];
        ensure!(declared["image"] == program, "{service} runs {}", declared["image"]);
        let plain = environment(declared, &BTreeMap::new())?;
        taken(program, &plain).with_context(|| format!("{service}, with nothing set"))?;
        let all = environment(declared, &set)?;
        let dead: Vec<_> = {
            let taken = taken(program, &all).with_context(|| service.to_owned())?;
            all.keys().filter(|name| !taken.contains(*name)).cloned().collect()
        };
        ensure!(dead.is_empty(), "{program} takes nothing from {dead:?} of {service}");
    }
    Ok(())
}

#[test]
fn each_variable_of_the_compose_files_is_told_in_the_first_ones_head() -> Result<()> {
    let text = read(COMPOSE)?;
    let (head, _) = text.split_once("\nname:").context("the file has no name")?;
    // What stands behind the first changes some of it, and has a head without variables.
    let files = files("docker", ".yml")?;
    let all = files.iter().map(fs::read_to_string).collect::<io::Result<String>>()?;
    for (name, default) in variables(&all) {
        let told = if default.is_empty() || name.ends_with("_IMAGE") {
            name.to_owned()
        } else {
            format!("{name}={default}")
        };
        ensure!(head.contains(&told), "the head of {COMPOSE} does not tell {told}");
        let defaults: BTreeSet<_> =
            variables(&all).into_iter().filter(|(other, _)| *other == name).collect();
        ensure!(defaults.len() == 1, "{name} has several defaults: {defaults:?}");
    }
    Ok(())
}

#[test]
fn each_setting_of_the_jobs_can_be_given_to_their_container() -> Result<()> {
    let services = services()?;
    let declared = &services["jobs"]["environment"];
    let of_jobs = ALL.iter().filter(|setting| {
        let section = setting.key.split('.').next();
        setting.programs.contains(&Program::Jobs) && matches!(section, Some("jobs" | "s3"))
    });
    // The port is the container's own, and another outside.
    for Setting { env, .. } in of_jobs.filter(|setting| setting.env != JOBS_LISTEN.env) {
        let given =
            declared[env].as_str().is_some_and(|text| text.contains(&format!("${{{env}:-")));
        ensure!(given, "{COMPOSE} does not pass {env} on to jobs");
    }
    Ok(())
}

#[test]
fn each_container_is_confined_and_says_how_it_is() -> Result<()> {
    for (name, service) in services()? {
        let is = |key: &str, value: Value| {
            ensure!(service[key] == value, "{name}: {key} is {}, not {value}", service[key]);
            Ok(())
        };
        is("read_only", json!(true))?;
        is("cap_drop", json!(["ALL"]))?;
        is("security_opt", json!(["no-new-privileges:true"]))?;
        is("restart", json!(if name == "topics" { "no" } else { "unless-stopped" }))?;
        ensure!(service["cap_add"].is_null() && service["privileged"].is_null(), "{name}");
        ensure!(service["mem_limit"].is_string(), "{name} may take all memory");
        // Those of ours are in the images.
        let ours = OURS.iter().any(|(ours, _)| *ours == name);
        ensure!(ours || service["healthcheck"]["test"].is_array(), "{name} has no health check");
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().context("a port is no text")?;
            ensure!(port.starts_with("127.0.0.1:"), "{name} opens {port} to other machines");
        }
        let image = resolved(service["image"].as_str().context("no image")?, &BTreeMap::new());
        let pinned = image.rsplit_once(':').is_some_and(|(_, tag)| tag.contains('.'));
        ensure!(ours || pinned, "{name}: {image} is not of one version");
    }
    Ok(())
}

#[test]
fn what_can_be_scaled_has_neither_a_name_nor_a_port_of_its_own() -> Result<()> {
    let services = services()?;
    for name in ["producer", "consumer"] {
        let (more, first) = (&services[name], &services[&format!("roaming-{name}")]);
        ensure!(more["container_name"].is_null() && more["ports"].is_null(), "{name}");
        ensure!(first["container_name"] == format!("roaming-{name}"), "{name}");
        ensure!(more["environment"] == first["environment"], "{name} has other settings");
        ensure!(more["networks"] == first["networks"], "Prometheus does not find {name}");
    }
    Ok(())
}

#[test]
fn a_container_is_given_longer_to_stop_than_its_program_takes() -> Result<()> {
    let grace_s: u32 = PRODUCER_GRACE_S.default.context("no default")?.parse()?;
    for (name, program) in OURS {
        let period = services()?[name]["stop_grace_period"].clone();
        let seconds: u32 =
            period.as_str().and_then(|s| s.strip_suffix('s')).context("s")?.parse()?;
        ensure!(seconds > grace_s, "{name}: {program} may take {grace_s} s and gets {seconds} s");
    }
    Ok(())
}

#[test]
fn the_images_have_the_ports_and_the_user_that_are_documented() -> Result<()> {
    let dockerfile = read(DOCKERFILE)?;
    for (program, listen) in [
        ("roaming-producer", &PRODUCER_LISTEN),
        ("roaming-consumer", &CONSUMER_LISTEN),
        ("roaming-jobs", &JOBS_LISTEN),
    ] {
        let stage = dockerfile.split("\nFROM ").find(|stage| {
            stage.lines().next().is_some_and(|from| from.ends_with(&format!(" AS {program}")))
        });
        let stage = stage.with_context(|| format!("no target {program}"))?;
        let port = listen.default.and_then(|listen| listen.rsplit(':').next()).context("port")?;
        ensure!(stage.contains(&format!("\nEXPOSE {port}\n")), "{program}: EXPOSE {port}");
        let check = format!("\"http://localhost:{port}/readyz\"");
        ensure!(stage.contains(&check), "{program}: HEALTHCHECK {check}");
    }
    let users: Vec<u32> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("USER ")?.split(':').next()?.parse().ok())
        .collect();
    ensure!(users.iter().all(|user| *user >= 10_001) && !users.is_empty(), "users {users:?}");
    Ok(())
}

#[test]
fn versions_are_those_that_are_tested_with() -> Result<()> {
    let (compose, dockerfile) = (read(COMPOSE)?, read(DOCKERFILE)?);
    for name in ["RUST_IMAGE", "DEBIAN_IMAGE"] {
        let found = variables(&compose).into_iter().find(|(found, _)| *found == name);
        let (_, image) = found.with_context(|| format!("{COMPOSE} has no {name}"))?;
        ensure!(dockerfile.contains(&format!("\nARG {name}={image}\n")), "{name} is not {image}");
    }
    let between = |text: &str, start: &str, end: &str| -> Result<String> {
        let rest = text.split_once(start).with_context(|| format!("no {start}"))?.1;
        Ok(rest.split(end).next().unwrap_or(rest).to_owned())
    };
    let rust = between(&read("rust-toolchain.toml")?, "channel = \"", "\"")?;
    ensure!(dockerfile.contains(&format!("=rust:{rust}-")), "the images are not of Rust {rust}");
    let kafka = between(&read("scripts/kafka/pom.xml")?, "<kafka.version>", "<")?;
    ensure!(compose.contains(&format!(":-apache/kafka:{kafka}}}")), "Kafka is not {kafka}");
    Ok(())
}
