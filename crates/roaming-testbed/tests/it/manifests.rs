//! The manifests fit the programs and the Compose file, and confine what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use roaming_service::config::table::PRODUCER_GRACE_S;
use roaming_service::topics::PARTITIONS;
use serde_json::{Value, json};

use crate::compose::taken;
use crate::observability::root;

const FOLDER: &str = "k8s";

/// Returns all objects of the folder, without its sub-folders, with their files.
fn objects() -> Result<Vec<(String, Value)>> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(root().join(FOLDER))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for document in fs::read_to_string(&path)?.split("\n---\n") {
                let object = serde_saphyr::from_str(document).with_context(|| file.clone())?;
                objects.push((file.clone(), object));
            }
        }
    }
    ensure!(objects.len() > 10, "{FOLDER} has {} objects", objects.len());
    Ok(objects)
}

fn of_kind(kind: &str) -> Result<Vec<Value>> {
    let all = objects()?.into_iter().map(|(_, object)| object);
    let found: Vec<_> = all.filter(|object| object["kind"] == kind).collect();
    ensure!(!found.is_empty(), "no {kind} in {FOLDER}");
    Ok(found)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("nameless")
}

/// Returns the pod of each object that makes pods, with the object's name.
fn pods() -> Result<Vec<(String, Value)>> {
    let pod = |(_, object): (String, Value)| {
        let template = match object["kind"].as_str()? {
            "Deployment" | "StatefulSet" | "Job" => &object["spec"]["template"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            _ => return None,
        };
        Some((name(&object).to_owned(), template["spec"].clone()))
    };
    let pods: Vec<_> = objects()?.into_iter().filter_map(pod).collect();
    ensure!(pods.len() >= 7, "{} kinds of pods", pods.len());
    Ok(pods)
}

fn container(pod: &Value) -> &Value {
    &pod["containers"][0]
}

#[test]
fn each_variable_of_the_config_map_reaches_a_setting() -> Result<()> {
    let maps = of_kind("ConfigMap")?;
    let map = maps.iter().find(|map| name(map) == "roaming-config").context("no roaming-config")?;
    let declared: BTreeMap<String, String> = serde_json::from_value(map["data"].clone())?;
    let mut dead: BTreeSet<String> = declared.keys().cloned().collect();
    for program in ["roaming-producer", "roaming-consumer", "roaming-jobs"] {
        for variable in taken(program, &declared)? {
            dead.remove(&variable);
        }
    }
    ensure!(dead.is_empty(), "no program takes anything from {dead:?}");
    Ok(())
}

#[test]
fn each_variable_of_a_container_of_ours_is_one_of_its_program() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("dsn");
    fs::write(&file, "postgres://role@host/database")?;
    let mut seen = 0;
    for (name, pod) in pods()? {
        let image = container(&pod)["image"].as_str().context("no image")?;
        let Some((program, _)) = image.split_once(':').filter(|(of, _)| of.starts_with("roaming-"))
        else {
            continue;
        };
        let own = container(&pod)["env"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = own.iter().filter_map(|variable| variable["name"].as_str()).collect();
        let environment = names.iter().map(|name| {
            ensure!(name.ends_with("_FILE"), "{name}: a value belongs into the ConfigMap");
            Ok(((*name).to_owned(), file.to_string_lossy().into_owned()))
        });
        let taken = taken(program, &environment.collect::<Result<_>>()?)?;
        for variable in names {
            ensure!(taken.contains(variable), "{program} takes nothing from {variable} of {name}");
            seen += 1;
        }
    }
    ensure!(seen > 0, "no container has a variable of its own");
    Ok(())
}

#[test]
fn each_pod_is_confined() -> Result<()> {
    for (name, pod) in pods()? {
        let is = |what: &Value, key: &str, value: Value| {
            ensure!(what[key] == value, "{name}: {key} is {}, not {value}", what[key]);
            Ok(())
        };
        is(&pod, "automountServiceAccountToken", json!(false))?;
        is(&pod["securityContext"], "runAsNonRoot", json!(true))?;
        is(&pod["securityContext"], "seccompProfile", json!({"type": "RuntimeDefault"}))?;
        ensure!(pod["serviceAccountName"].is_string(), "{name} runs as the default account");
        ensure!(pod["containers"].as_array().is_some_and(|all| all.len() == 1), "{name}");
        let container = container(&pod);
        let context = &container["securityContext"];
        is(context, "readOnlyRootFilesystem", json!(true))?;
        is(context, "allowPrivilegeEscalation", json!(false))?;
        is(context, "capabilities", json!({"drop": ["ALL"]}))?;
        for bound in ["requests", "limits"] {
            for of in ["cpu", "memory", "ephemeral-storage"] {
                ensure!(container["resources"][bound][of].is_string(), "{name}: {bound} of {of}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_keeps_data_finds_it_with_the_permissions_that_it_left() -> Result<()> {
    for set in of_kind("StatefulSet")? {
        let policy = &set["spec"]["template"]["spec"]["securityContext"]["fsGroupChangePolicy"];
        ensure!(policy == "OnRootMismatch", "{}: {policy}", name(&set));
    }
    Ok(())
}

#[test]
fn images_are_those_of_the_compose_file_and_of_this_release() -> Result<()> {
    let compose = fs::read_to_string(root().join("docker/docker-compose.yml"))?;
    for (name, pod) in pods()? {
        let image = container(&pod)["image"].as_str().context("no image")?;
        let (repository, tag) = image.split_once(':').with_context(|| format!("{name}: no tag"))?;
        if repository.starts_with("roaming-") {
            ensure!(tag == env!("CARGO_PKG_VERSION"), "{name} runs {image}");
        } else {
            ensure!(compose.contains(&format!(":-{image}}}")), "{name} runs {image}");
        }
    }
    Ok(())
}

#[test]
fn autoscalers_own_the_replicas_and_stay_below_the_partitions() -> Result<()> {
    let deployments = of_kind("Deployment")?;
    for scaler in of_kind("HorizontalPodAutoscaler")? {
        let (target, most) =
            (&scaler["spec"]["scaleTargetRef"]["name"], &scaler["spec"]["maxReplicas"]);
        let deployment = deployments.iter().find(|deployment| target == name(deployment));
        let deployment = deployment.with_context(|| format!("{target} is no Deployment"))?;
        ensure!(deployment["spec"]["replicas"].is_null(), "{target}: two say how many there are");
        ensure!(
            most.as_u64().is_some_and(|most| most <= u64::from(PARTITIONS)),
            "{target}: {most}"
        );
        let grace = &deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        let own: u64 = PRODUCER_GRACE_S.default.context("no default")?.parse()?;
        ensure!(grace.as_u64().is_some_and(|grace| grace > own), "{target}: {grace} s to stop");
    }
    Ok(())
}
