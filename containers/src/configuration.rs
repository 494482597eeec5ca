//! An image's configuration: kept as the JSON document that it is, so that fields which only Docker knows (health checks,
//! shells) survive.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::layout::LayoutError;

/// The configuration of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration(Map<String, Value>);

impl Configuration {
    /// That of an image without layers.
    #[must_use]
    pub fn new(architecture: &str, os: &str) -> Self {
        let mut map = Map::new();
        map.insert("architecture".to_owned(), json!(architecture));
        map.insert("os".to_owned(), json!(os));
        map.insert("config".to_owned(), json!({}));
        map.insert(
            "rootfs".to_owned(),
            json!({ "type": "layers", "diff_ids": [] }),
        );
        map.insert("history".to_owned(), json!([]));
        Self(map)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is no JSON object or has no list of layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let configuration = Self(crate::layout::parse("configuration of the image", bytes)?);
        configuration.diff_ids()?;
        Ok(configuration)
    }

    /// The document.
    #[must_use]
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The digests of the uncompressed layers, the lowest first.
    ///
    /// # Errors
    /// When one is none.
    pub fn diff_ids(&self) -> Result<Vec<Digest>, LayoutError> {
        let malformed = |reason: String| LayoutError::Malformed {
            what: "configuration of the image",
            reason,
        };
        let ids = self
            .0
            .get("rootfs")
            .and_then(|rootfs| rootfs.get("diff_ids"));
        let Some(ids) = ids.and_then(Value::as_array) else {
            return Err(malformed("it has no list rootfs.diff_ids".to_owned()));
        };
        ids.iter()
            .map(|id| Ok(id.as_str().unwrap_or_default().parse()?))
            .collect()
    }

    /// The architecture, as Go calls it (`amd64`), and the operating system.
    #[must_use]
    pub fn platform(&self) -> (&str, &str) {
        let text = |key| self.0.get(key).and_then(Value::as_str).unwrap_or_default();
        (text("architecture"), text("os"))
    }

    /// The value of an environment variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let list = self.setting("Env")?.as_array()?;
        list.iter()
            .filter_map(|entry| entry.as_str()?.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Sets an environment variable, in its place where it is set already.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let entry = json!(format!("{name}={value}"));
        let list = self.settings().entry("Env").or_insert_with(|| json!([]));
        if !list.is_array() {
            // `null`, as Go writes an empty list.
            *list = json!([]);
        }
        let Some(list) = list.as_array_mut() else {
            return;
        };
        let same = |old: &Value| {
            old.as_str()
                .and_then(|old| old.split_once('='))
                .is_some_and(|(key, _)| key == name)
        };
        match list.iter_mut().find(|old| same(old)) {
            Some(old) => *old = entry,
            None => list.push(entry),
        }
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.setting("Labels").and_then(Value::as_object);
        labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// Sets a label.
    pub fn set_label(&mut self, name: &str, value: &str) {
        let labels = self.settings().entry("Labels").or_insert_with(|| json!({}));
        if !labels.is_object() {
            *labels = json!({});
        }
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(name.to_owned(), json!(value));
        }
    }

    /// Removes a label.
    pub fn remove_label(&mut self, name: &str) {
        if let Some(labels) = self
            .settings()
            .get_mut("Labels")
            .and_then(Value::as_object_mut)
        {
            labels.remove(name);
        }
    }

    /// What runs when a container is started without a command.
    pub fn set_command(&mut self, command: &[&str]) {
        self.settings().insert("Cmd".to_owned(), json!(command));
    }

    /// When the image was made, as RFC 3339 has it, where it says so.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.0.get("created").and_then(Value::as_str)
    }

    /// When the image was made, as RFC 3339 has it.
    pub fn set_created(&mut self, time: &str) {
        self.0.insert("created".to_owned(), json!(time));
    }

    /// Notes a further layer.
    pub(crate) fn push_layer(&mut self, diff_id: &Digest, created: &str, created_by: &str) {
        if let Some(ids) = self
            .0
            .get_mut("rootfs")
            .and_then(|rootfs| rootfs.get_mut("diff_ids"))
            .and_then(Value::as_array_mut)
        {
            ids.push(json!(diff_id));
        }
        let history = self.0.entry("history").or_insert_with(|| json!([]));
        if let Some(history) = history.as_array_mut() {
            history.push(json!({ "created": created, "created_by": created_by }));
        }
        self.set_created(created);
    }

    /// Forgets a layer and what the history says of it.
    pub(crate) fn remove_layer(&mut self, index: usize) {
        if let Some(ids) = self
            .0
            .get_mut("rootfs")
            .and_then(|rootfs| rootfs.get_mut("diff_ids"))
            .and_then(Value::as_array_mut)
        {
            ids.remove(index);
        }
        if let Some(history) = self.0.get_mut("history").and_then(Value::as_array_mut) {
            let has_layer = |entry: &Value| entry.get("empty_layer") != Some(&json!(true));
            let place = history
                .iter()
                .enumerate()
                .filter(|(_, entry)| has_layer(entry))
                .nth(index)
                .map(|(place, _)| place);
            if let Some(place) = place {
                history.remove(place);
            }
        }
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.0.get("config")?.get(name)
    }

    fn settings(&mut self) -> &mut Map<String, Value> {
        let settings = self.0.entry("config").or_insert_with(|| json!({}));
        if !settings.is_object() {
            *settings = json!({});
        }
        match settings {
            Value::Object(map) => map,
            _ => unreachable!("made an object above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_docker_knows_survives() -> Result<(), LayoutError> {
        let text = br#"{"architecture":"amd64","os":"linux","docker_version":"20",
            "config":{"Healthcheck":{"Test":["CMD","true"]},"Env":null},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let mut configuration = Configuration::parse(text)?;
        configuration.set_variable("LANG", "C.UTF-8");
        configuration.set_variable("PATH", "/bin");
        configuration.set_variable("LANG", "C");
        configuration.set_label("key", "value");
        let settings = &configuration.as_json()["config"];
        assert_eq!(settings["Env"], json!(["LANG=C", "PATH=/bin"]));
        assert_eq!(settings["Healthcheck"]["Test"], json!(["CMD", "true"]));
        assert_eq!(configuration.variable("PATH"), Some("/bin"));
        assert_eq!(configuration.labels()["key"], "value");
        assert_eq!(configuration.as_json()["docker_version"], "20");
        Ok(())
    }

    #[test]
    fn a_layer_goes_with_its_line_of_history() -> Result<(), LayoutError> {
        let mut configuration = Configuration::new("amd64", "linux");
        configuration.push_layer(&Digest::of(b"1"), "1970-01-01T00:00:00Z", "base");
        let mut before = configuration.clone();
        if let Some(Value::Array(history)) = configuration.0.get_mut("history") {
            history.push(json!({ "created_by": "ENV", "empty_layer": true }));
        }
        configuration.push_layer(&Digest::of(b"2"), "1970-01-01T00:00:00Z", "markers");
        configuration.push_layer(&Digest::of(b"3"), "1970-01-01T00:00:00Z", "application");
        configuration.remove_layer(1);
        before.push_layer(&Digest::of(b"3"), "1970-01-01T00:00:00Z", "application");
        assert_eq!(configuration.diff_ids()?, before.diff_ids()?);
        let said: Vec<_> = configuration.as_json()["history"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| entry["created_by"].clone())
            .collect();
        assert_eq!(said, ["base", "ENV", "application"]);
        Ok(())
    }

    #[test]
    fn a_configuration_without_layers_list_is_refused() {
        for text in [
            &b"{}"[..],
            b"[]",
            b"{\"rootfs\":{\"diff_ids\":[\"md5:00\"]}}",
        ] {
            assert!(Configuration::parse(text).is_err());
        }
    }
}
