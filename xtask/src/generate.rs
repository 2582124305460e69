//! Files that are made from the code: one source, many documents.

mod events;

use std::process::ExitCode;

use anyhow::Context;
use roaming_events::schema;

use crate::workspace::Workspace;

/// A generated file, as it should be.
pub(crate) struct Generated {
    /// Path from the root.
    pub(crate) path: &'static str,
    /// The whole text.
    pub(crate) text: String,
}

/// Makes every generated file.
pub(crate) fn all(workspace: &Workspace) -> anyhow::Result<Vec<Generated>> {
    let event_schema = schema::event_schema();
    let mut schema_text = serde_json::to_string_pretty(&event_schema)?;
    schema_text.push('\n');
    let document = workspace.text(events::PATH).context("docs/events.md is missing")?;
    let events_text = events::document(document, &event_schema, &schema::examples())?;
    Ok(vec![
        Generated { path: "crates/roaming-events/schema/event.schema.json", text: schema_text },
        Generated { path: events::PATH, text: events_text },
    ])
}

/// Writes the files that differ and says which.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    for generated in all(workspace)? {
        let state = if workspace.text(generated.path) == Some(generated.text.as_str()) {
            "is fresh"
        } else {
            let path = workspace.root.join(generated.path);
            std::fs::write(&path, &generated.text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            "rewritten"
        };
        println!("{} {state}", generated.path);
    }
    Ok(ExitCode::SUCCESS)
}
