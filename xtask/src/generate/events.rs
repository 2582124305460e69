//! `docs/events.md`: prose by hand, and between two marks the fields and one example of each type, from the
//! schema and the examples of the contract.

use std::fmt::Write as _;

use anyhow::{Context, ensure};
use roaming_events::{Event, EventType};
use serde_json::Value;

/// Returns the part between the marks.
pub(super) fn generated(schema: &Value, examples: &[Event]) -> anyhow::Result<String> {
    let mut text = String::new();
    common_fields(&mut text, schema, examples)?;
    let types = schemars::schema_for!(EventType).to_value();
    for event in examples {
        event_type(&mut text, schema, &types, event)?;
    }
    named_values(&mut text, schema)?;
    Ok(text)
}

/// The table of the fields that all types have.
fn common_fields(text: &mut String, schema: &Value, examples: &[Event]) -> anyhow::Result<()> {
    text.push_str("\n## Fields of every event\n\nBefore them stands `type`: the name of one of the sections below.\n\n");
    let common = schema["properties"].as_object().context("the schema has no properties")?;
    // In the order of the wire; `cause` stands only where there is one.
    let longest = examples
        .iter()
        .map(wire_fields)
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .max_by_key(|fields| fields.iter().filter(|field| common.contains_key(*field)).count())
        .context("there are no examples")?;
    let shown: Vec<&String> = longest.iter().filter(|field| common.contains_key(*field)).collect();
    ensure!(shown.len() == common.len(), "no example shows all of {:?}", common.keys());
    table(text, schema, schema, &shown)
}

/// The section of one type: what it adds, and an example.
fn event_type(
    text: &mut String,
    schema: &Value,
    types: &Value,
    event: &Event,
) -> anyhow::Result<()> {
    let json = serde_json::to_value(event)?;
    let name = json["type"].as_str().context("an event without its type")?;
    let alternatives = schema["oneOf"].as_array().context("the schema has no alternatives")?;
    let own = alternatives
        .iter()
        .find(|alternative| alternative["properties"]["type"]["const"] == name)
        .with_context(|| format!("the schema does not know {name}"))?;
    write!(text, "\n## `{name}`\n\n")?;
    let meaning = description(types, name).with_context(|| format!("{name} is not described"))?;
    write!(text, "{meaning}\n\n")?;
    let fields = wire_fields(event)?;
    let shown: Vec<&String> = fields
        .iter()
        .filter(|field| *field != "type" && own["properties"].get(field.as_str()).is_some())
        .collect();
    table(text, schema, own, &shown)?;
    write!(text, "\n```json\n{}\n```\n", serde_json::to_string_pretty(event)?)?;
    Ok(())
}

/// The values of the enumerations that several types share.
fn named_values(text: &mut String, schema: &Value) -> anyhow::Result<()> {
    text.push_str("\n## Named values\n");
    let definitions = schema["$defs"].as_object().context("the schema has no definitions")?;
    for (name, definition) in definitions {
        let Some(values) = values(definition) else { continue };
        write!(text, "\n### {name}\n\n")?;
        if let Some(meaning) = definition["description"].as_str() {
            write!(text, "{}\n\n", one_line(meaning))?;
        }
        for (value, meaning) in values {
            writeln!(text, "- `{value}`: {}", one_line(meaning))?;
        }
    }
    Ok(())
}

/// A table of fields with their JSON type and meaning.
fn table(
    text: &mut String,
    schema: &Value,
    owner: &Value,
    fields: &[&String],
) -> anyhow::Result<()> {
    text.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
    let required = owner["required"].as_array().context("a schema without required fields")?;
    for field in fields {
        let property = &owner["properties"][field.as_str()];
        let optional =
            if required.iter().any(|name| name == field.as_str()) { "" } else { ", optional" };
        let meaning = property["description"]
            .as_str()
            .or_else(|| resolve(schema, property)["description"].as_str())
            .with_context(|| format!("{field} is not described"))?;
        writeln!(
            text,
            "| `{field}` | {}{optional} | {} |",
            json_type(schema, property),
            one_line(meaning).replace('|', "\\|")
        )?;
    }
    Ok(())
}

/// The JSON type of a property, or the name of its enumeration.
fn json_type(schema: &Value, property: &Value) -> String {
    let definition = resolve(schema, property);
    if values(definition).is_some() {
        let name = property["$ref"].as_str().and_then(|target| target.rsplit('/').next());
        return name.map_or_else(
            || "text".to_owned(),
            |name| format!("[{name}](#{})", name.to_lowercase()),
        );
    }
    match definition["type"].as_str() {
        Some("string") => "text",
        Some("integer") => "integer",
        Some(other) => other,
        None => "any",
    }
    .to_owned()
}

/// Follows a reference within the schema.
fn resolve<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    match property["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
        Some(pointer) => schema.pointer(pointer).unwrap_or(property),
        None => property,
    }
}

/// The values of an enumeration with their meanings; `None` for what is none.
fn values(definition: &Value) -> Option<Vec<(&str, &str)>> {
    definition["oneOf"]
        .as_array()?
        .iter()
        .map(|one| Some((one["const"].as_str()?, one["description"].as_str().unwrap_or(""))))
        .collect()
}

/// The meaning of one value of an enumeration.
fn description(definition: &Value, value: &str) -> Option<String> {
    let (_, meaning) = values(definition)?.into_iter().find(|(name, _)| *name == value)?;
    Some(one_line(meaning))
}

/// The names of an event's fields in the order of the wire.
fn wire_fields(event: &Event) -> anyhow::Result<Vec<String>> {
    let text = serde_json::to_string_pretty(event)?;
    // The object is flat: each field has a line of its own.
    Ok(text.lines().filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect())
}

/// Text of a doc comment on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use roaming_events::{EventType, schema};

    use super::*;

    #[test]
    fn every_type_has_a_section_whose_example_reads_back() {
        let text = generated(&schema::event_schema(), &schema::examples()).unwrap();
        let sections: Vec<&str> = text.split("```json\n").skip(1).collect();
        assert_eq!(sections.len(), EventType::ALL.len());
        for (section, event_type) in sections.iter().zip(EventType::ALL) {
            let json = section.split("```").next().unwrap();
            let event: Event = serde_json::from_str(json).unwrap();
            assert_eq!(event.body.event_type(), *event_type);
            assert!(text.contains(&format!("\n## `{event_type}`\n")));
        }
    }
}
