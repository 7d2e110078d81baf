//! How a container is made again: the configuration its administrator gave it, without what its old image brought. Pure.
//!
//! An engine keeps one configuration, in which the image's own settings and the administrator's are mixed. What equals the old
//! image's setting is left to the new image; everything else is carried over as the engine tells it, known to us or not. Volumes
//! without a name are carried over by the name the engine gave them, so that their data stays. What the container itself wrote
//! into its root is not: it belonged to the old image.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What creates a container, and the networks it joins before it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recipe {
    pub create: Value,
    pub joins: Vec<(String, Value)>,
}

/// Settings of `Config` that an image may bring.
const OF_IMAGES: [&str; 7] = ["Cmd", "Healthcheck", "OnBuild", "Shell", "StopSignal", "User", "WorkingDir"];
/// What `docker compose` compares to find out whether a container is up to date.
const COMPOSE_IMAGE: &str = "com.docker.compose.image";
/// What Podman adds to the environment by itself.
const PODMAN_ENVIRONMENT: [&str; 4] =
    ["container=podman", "TERM=xterm", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// A container and its image as the engine tells them, in full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old<'a> {
    pub container: &'a Value,
    pub image: &'a Value,
    pub podman: bool,
}

impl Old<'_> {
    /// The recipe for the same container from the image `reference` names here, whose id is `image`.
    pub(super) fn recipe(&self, reference: &str, image: &str, host_name: &str) -> Recipe {
        let mut config = self.config(host_name);
        config.insert("Image".into(), json!(reference));
        if let Some(label) = config.get_mut("Labels").and_then(|labels| labels.get_mut(COMPOSE_IMAGE)) {
            *label = json!(image);
        }
        let mut host_config = object(&self.container["HostConfig"]);
        host_config.remove("ContainerIDFile");
        host_config.insert("Binds".into(), json!(self.binds()));
        // The engine must not start it by itself before it has proved itself; see the module `switch`.
        if !self.podman {
            host_config.insert("RestartPolicy".into(), json!({"Name": "no"}));
        }
        for limit in host_config.get_mut("Ulimits").and_then(Value::as_array_mut).into_iter().flatten() {
            // Podman tells RLIMIT_NOFILE and takes nofile.
            if let Some(name) = limit["Name"].as_str() {
                limit["Name"] = json!(name.strip_prefix("RLIMIT_").map_or_else(|| name.to_owned(), str::to_lowercase));
            }
        }
        config.insert("HostConfig".into(), Value::Object(host_config));
        let (first, joins) = self.networks();
        config.insert("NetworkingConfig".into(), json!({ "EndpointsConfig": first }));
        Recipe { create: Value::Object(config), joins }
    }

    /// `Config` without what the old image brought and what the engine made up.
    fn config(&self, host_name: &str) -> Map<String, Value> {
        let (own, image) = (object(&self.container["Config"]), &self.image["Config"]);
        let mut kept = own.clone();
        // A command belongs to its entry point: when the administrator gave one, the image's command is not used with it.
        let entry_point = normal(&own.get("Entrypoint").cloned().unwrap_or_default());
        let own_entry_point = entry_point != normal(&image["Entrypoint"]);
        if !own_entry_point {
            kept.remove("Entrypoint");
        } else if entry_point.is_null() {
            // Nothing would mean the image's; this is how engines are told to use none.
            kept.insert("Entrypoint".into(), json!([""]));
        }
        for setting in OF_IMAGES {
            let inherited = self.same(setting, own.get(setting).unwrap_or(&Value::Null), &image[setting]);
            if inherited && !(setting == "Cmd" && own_entry_point) {
                kept.remove(setting);
            }
        }
        let environment: BTreeSet<&str> = texts(&image["Env"]).collect();
        let host = format!("HOSTNAME={}", own.get("Hostname").and_then(Value::as_str).unwrap_or_default());
        let by_engine = |variable: &str| self.podman && (variable == host || PODMAN_ENVIRONMENT.contains(&variable));
        let variables =
            own.get("Env").into_iter().flat_map(texts).filter(|variable| !environment.contains(variable) && !by_engine(variable));
        kept.insert("Env".into(), json!(variables.collect::<Vec<_>>()));
        for name in ["Labels", "ExposedPorts"] {
            let mut values = own.get(name).map(object).unwrap_or_default();
            values.retain(|key, value| image[name].get(key) != Some(value));
            kept.insert(name.into(), Value::Object(values));
        }
        // Every volume is bound by its name; what the new image declares comes with it.
        kept.remove("Volumes");
        if self.host_name_is_made_up(host_name) {
            kept.remove("Hostname");
        }
        kept
    }

    /// Whether a setting is the image's own, seen through what an engine does to it.
    fn same(&self, setting: &str, own: &Value, image: &Value) -> bool {
        let (mut own, mut image) = (normal(own), normal(image));
        if self.podman && setting == "StopSignal" {
            // Podman tells the number, and the default where the image names none.
            let number = |signal: &Value| signal.as_str().map_or(Some(15), signal_number);
            (own, image) = (json!(number(&own)), json!(number(&image)));
        }
        if setting == "WorkingDir" {
            let root = |directory: Value| if directory == "/" { Value::Null } else { directory };
            (own, image) = (root(own), root(image));
        }
        own == image
    }

    /// An engine names a container after its id unless told otherwise, and gives it the host's name in the host's network.
    fn host_name_is_made_up(&self, host_name: &str) -> bool {
        let name = self.container["Config"]["Hostname"].as_str().unwrap_or_default();
        let id = self.container["Id"].as_str().unwrap_or_default();
        let network = self.container["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
        name.is_empty() || id.starts_with(name) || network.starts_with("container:") || network == "host" && name == host_name
    }

    /// The binds, with those volumes that nothing else names.
    fn binds(&self) -> Vec<String> {
        let host_config = &self.container["HostConfig"];
        let mut binds: Vec<String> = texts(&host_config["Binds"]).map(str::to_owned).collect();
        let bound = |bind: &str| bind.split(':').nth(1).map(str::to_owned);
        let mut named: BTreeSet<String> = binds.iter().filter_map(|bind| bound(bind)).collect();
        named.extend(items(&host_config["Mounts"]).filter_map(|mount| mount["Target"].as_str().map(str::to_owned)));
        for mount in items(&self.container["Mounts"]).filter(|mount| mount["Type"] == "volume") {
            let (Some(name), Some(target)) = (mount["Name"].as_str(), mount["Destination"].as_str()) else { continue };
            if !named.contains(target) {
                let mode = if mount["RW"] == false { ":ro" } else { "" };
                binds.push(format!("{name}:{target}{mode}"));
            }
        }
        binds
    }

    /// The endpoints to create with, and those to join afterwards: an engine of API 1.41 takes one at a time.
    fn networks(&self) -> (Map<String, Value>, Vec<(String, Value)>) {
        let mode = self.container["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
        let (mut first, mut joins) = (Map::new(), Vec::new());
        let shared = mode == "host" || mode == "none" || mode.starts_with("container:");
        for (name, network) in object(&self.container["NetworkSettings"]["Networks"]).into_iter().filter(|_| !shared) {
            let endpoint = self.endpoint(&network);
            let primary = name == mode || network["NetworkID"] == mode || matches!(mode, "default" | "bridge") && name == "bridge";
            if primary || self.podman {
                first.insert(name, endpoint);
            } else {
                joins.push((name, endpoint));
            }
        }
        (first, joins)
    }

    /// What was asked of a network: fixed addresses, aliases, links, options; not what it gave.
    fn endpoint(&self, network: &Value) -> Value {
        let id = self.container["Id"].as_str().unwrap_or_default();
        // The engine adds the start of the id as an alias.
        let aliases: Vec<_> = texts(&network["Aliases"]).filter(|alias| alias.len() < 12 || !id.starts_with(alias)).collect();
        let mut endpoint = Map::new();
        for name in ["IPAMConfig", "Links", "DriverOpts"] {
            if !normal(&network[name]).is_null() {
                endpoint.insert(name.into(), network[name].clone());
            }
        }
        if !aliases.is_empty() {
            endpoint.insert("Aliases".into(), json!(aliases));
        }
        Value::Object(endpoint)
    }

    /// The settings of which `new`, made by the recipe, differs: names only, since values may be secrets.
    pub(super) fn differences(&self, new: &Value, host_name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let parts = |container: &Value| {
            let mut parts = object(&normal(&container["HostConfig"]));
            // Judged by the mounts, and by the module `switch`.
            for name in ["Binds", "RestartPolicy", "ContainerIDFile"] {
                parts.remove(name);
            }
            parts
        };
        differing("HostConfig", &parts(self.container), &parts(new), &mut found);
        let kept = self.config(host_name);
        for (name, value) in kept.iter().filter(|(name, _)| !matches!(name.as_str(), "Image" | "Env" | "Labels" | "ExposedPorts")) {
            let expected = if *value == json!([""]) { Value::Null } else { normal(value) };
            if expected != normal(&new["Config"][name]) {
                found.push(format!("Config.{name}"));
            }
        }
        let variables: BTreeSet<&str> = texts(&new["Config"]["Env"]).collect();
        if !kept.get("Env").into_iter().flat_map(texts).all(|variable| variables.contains(variable)) {
            found.push("Config.Env".into());
        }
        for name in ["Labels", "ExposedPorts"] {
            let all = kept.get(name).map(object).unwrap_or_default();
            if !all.iter().all(|(key, value)| key == COMPOSE_IMAGE || new["Config"][name].get(key) == Some(value)) {
                found.push(format!("Config.{name}"));
            }
        }
        if !mounts(self.container).is_subset(&mounts(new)) {
            found.push("Mounts".into());
        }
        if self.endpoints(self.container) != (Old { container: new, ..*self }).endpoints(new) {
            found.push("NetworkSettings.Networks".into());
        }
        found
    }

    fn endpoints(&self, container: &Value) -> BTreeMap<String, Value> {
        let networks = object(&container["NetworkSettings"]["Networks"]);
        networks.into_iter().map(|(name, network)| (name, normal(&self.endpoint(&network)))).collect()
    }
}

/// A mount as the administrator sees it.
fn mounts(container: &Value) -> BTreeSet<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let source = |mount: &Value| if mount["Type"] == "volume" { text(&mount["Name"]) } else { text(&mount["Source"]) };
    items(&container["Mounts"]).map(|mount| (source(mount), text(&mount["Destination"]), mount["RW"] != false)).collect()
}

fn differing(prefix: &str, one: &Map<String, Value>, other: &Map<String, Value>, found: &mut Vec<String>) {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    found.extend(names.into_iter().filter(|name| one.get(*name) != other.get(*name)).map(|name| format!("{prefix}.{name}")));
}

/// A value without what says nothing: engines write null, empty, zero and false for "not set" as they please.
fn normal(value: &Value) -> Value {
    let nothing = |value: &Value| value.is_null();
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(fields) => {
            let fields: Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), normal(value))).filter(|(_, value)| !nothing(value)).collect();
            if fields.is_empty() { Value::Null } else { Value::Object(fields) }
        }
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        Value::Bool(false) => Value::Null,
        value => value.clone(),
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

/// The number of a signal, by number or name; none where it is not known.
fn signal_number(signal: &str) -> Option<u64> {
    if let Ok(number) = signal.parse() {
        return Some(number);
    }
    let names = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("KILL", 9), ("USR1", 10), ("USR2", 12), ("TERM", 15), ("WINCH", 28)];
    let bare = signal.strip_prefix("SIG").unwrap_or(signal);
    names.into_iter().find(|(name, _)| *name == bare).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IMAGE_ID: &str = "sha256:new";

    fn image() -> Value {
        json!({"Config": {
            "Env": ["PATH=/bin", "IMAGE_VERSION=1.0"], "Cmd": ["/bin/sleep", "100000"], "Entrypoint": null, "WorkingDir": "/srv", "User": "web",
            "Labels": {"org.opencontainers.image.version": "1.0"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
            "Healthcheck": {"Test": ["CMD", "/bin/true"]}, "StopSignal": "SIGKILL"
        }})
    }

    /// A container of that image to which its administrator added nothing.
    fn plain() -> Value {
        let mut container = json!({
            "Id": "7f8171f21ac2cdef7f3e5ef58504c8a7", "Image": "sha256:old", "Config": image()["Config"].clone(),
            "HostConfig": {"NetworkMode": "default", "Binds": null, "RestartPolicy": {"Name": "always"}, "Memory": 0},
            "Mounts": [], "NetworkSettings": {"Networks": {"bridge": {"IPAMConfig": null, "Aliases": null, "IPAddress": "172.17.0.2"}}}
        });
        container["Config"]["Hostname"] = json!("7f8171f21ac2");
        container
    }

    fn recipe(container: &Value) -> Recipe {
        Old { container, image: &image(), podman: false }.recipe("web:latest", IMAGE_ID, "host")
    }

    #[test]
    fn what_the_old_image_brought_is_left_to_the_new_one() {
        let recipe = recipe(&plain());
        let expected = json!({
            "Image": "web:latest", "Env": [], "Labels": {}, "ExposedPorts": {},
            "HostConfig": {"NetworkMode": "default", "Binds": [], "RestartPolicy": {"Name": "no"}, "Memory": 0},
            "NetworkingConfig": {"EndpointsConfig": {"bridge": {}}}
        });
        assert_eq!((recipe.create, recipe.joins), (expected, vec![]));
    }

    #[test]
    fn what_the_administrator_gave_is_carried_over() {
        let mut container = plain();
        let config = &mut container["Config"];
        config["Env"] = json!(["PATH=/bin", "IMAGE_VERSION=1.0", "TOKEN=s3cret", "PATH=/opt/bin"]);
        config["Labels"] =
            json!({"org.opencontainers.image.version": "1.0", "com.docker.compose.service": "web", COMPOSE_IMAGE: "sha256:old"});
        config["ExposedPorts"] = json!({"80/tcp": {}, "443/tcp": {}});
        config["User"] = json!("root");
        config["Hostname"] = json!("web.example");
        config["FromTheFuture"] = json!({"a": 1});
        container["HostConfig"]["Memory"] = json!(1_000_000);
        let create = recipe(&container).create;
        assert_eq!(create["Env"], json!(["TOKEN=s3cret", "PATH=/opt/bin"]));
        assert_eq!(create["Labels"], json!({"com.docker.compose.service": "web", COMPOSE_IMAGE: IMAGE_ID}));
        assert_eq!(create["ExposedPorts"], json!({"443/tcp": {}}));
        assert_eq!(
            (&create["User"], &create["Hostname"], &create["FromTheFuture"]),
            (&json!("root"), &json!("web.example"), &json!({"a": 1}))
        );
        assert_eq!(create["HostConfig"]["Memory"], 1_000_000);
        assert!(create.get("WorkingDir").is_none() && create.get("Healthcheck").is_none());
    }

    #[test]
    fn a_command_stays_with_its_entry_point() {
        let with = |entry_point: Value, command: Value| {
            let mut container = plain();
            container["Config"]["Entrypoint"] = entry_point;
            container["Config"]["Cmd"] = command;
            let create = recipe(&container).create;
            (create.get("Entrypoint").cloned(), create.get("Cmd").cloned())
        };
        let own = json!(["/bin/sleep", "100000"]);
        assert_eq!(with(Value::Null, json!(["/bin/sleep", "5"])), (None, Some(json!(["/bin/sleep", "5"]))));
        assert_eq!(with(json!(["/init"]), own.clone()), (Some(json!(["/init"])), Some(own)));
        assert_eq!(with(json!([]), json!(["/bin/sleep", "100000"])), (None, None), "none is none");
        let (mut container, mut image) = (plain(), image());
        image["Config"]["Entrypoint"] = json!(["/entry"]);
        container["Config"]["Entrypoint"] = Value::Null;
        let create = Old { container: &container, image: &image, podman: false }.recipe("web", IMAGE_ID, "host").create;
        assert_eq!(create["Entrypoint"], json!([""]), "no entry point is not the image's");
    }

    #[test]
    fn volumes_without_a_name_keep_their_data() {
        let mut container = plain();
        container["HostConfig"]["Binds"] = json!(["named:/named:ro", "/etc/conf:/conf"]);
        container["HostConfig"]["Mounts"] = json!([{"Type": "volume", "Source": "mounted", "Target": "/mounted"}]);
        let volume = |name: &str, target: &str, rw: bool| json!({"Type": "volume", "Name": name, "Destination": target, "RW": rw});
        container["Mounts"] = json!([
            volume("named", "/named", false), volume("mounted", "/mounted", true), volume("ab12", "/data", true), volume("cd34", "/ro", false),
            {"Type": "bind", "Source": "/etc/conf", "Destination": "/conf", "RW": true}
        ]);
        let create = recipe(&container).create;
        assert_eq!(create["HostConfig"]["Binds"], json!(["named:/named:ro", "/etc/conf:/conf", "ab12:/data", "cd34:/ro:ro"]));
    }

    #[test]
    fn networks_keep_aliases_and_fixed_addresses_and_nothing_they_gave() {
        let mut container = plain();
        container["HostConfig"]["NetworkMode"] = json!("shop");
        container["NetworkSettings"]["Networks"] = json!({
            "shop": {"NetworkID": "n1", "Aliases": ["web", "7f8171f21ac2", "7f8171"], "IPAMConfig": {"IPv4Address": "10.9.0.7"}, "IPAddress": "10.9.0.7", "MacAddress": "02:42"},
            "back": {"NetworkID": "n2", "Aliases": ["7f8171f21ac2"], "IPAMConfig": null, "Links": ["db:db"]}
        });
        let made = recipe(&container);
        let endpoints = json!({"EndpointsConfig": {"shop": {"Aliases": ["web", "7f8171"], "IPAMConfig": {"IPv4Address": "10.9.0.7"}}}});
        assert_eq!(made.create["NetworkingConfig"], endpoints);
        assert_eq!(made.joins, [("back".to_owned(), json!({"Links": ["db:db"]}))]);
        container["HostConfig"]["NetworkMode"] = json!("host");
        container["Config"]["Hostname"] = json!("host");
        let made = recipe(&container);
        assert_eq!((made.create["NetworkingConfig"].clone(), made.create.get("Hostname")), (json!({"EndpointsConfig": {}}), None));
    }

    #[test]
    fn what_podman_adds_by_itself_is_not_carried_over() {
        let mut container = plain();
        container["Config"]["Env"] =
            json!(["PATH=/bin", "IMAGE_VERSION=1.0", "HOSTNAME=7f8171f21ac2", "TERM=xterm", "container=podman", "A=b"]);
        container["Config"]["StopSignal"] = json!("9");
        container["HostConfig"]["Ulimits"] =
            json!([{"Name": "RLIMIT_NOFILE", "Hard": 4096, "Soft": 4096}, {"Name": "core", "Hard": 0, "Soft": 0}]);
        let create = Old { container: &container, image: &image(), podman: true }.recipe("web", IMAGE_ID, "host").create;
        assert_eq!((&create["Env"], create.get("StopSignal")), (&json!(["A=b"]), None));
        let names: Vec<_> =
            create["HostConfig"]["Ulimits"].as_array().unwrap().iter().map(|limit| limit["Name"].as_str().unwrap()).collect();
        assert_eq!(names, ["nofile", "core"]);
        assert_eq!(create["HostConfig"]["RestartPolicy"]["Name"], "always", "podman cannot change it later");
    }

    #[test]
    fn whatever_is_not_as_it_was_is_named_without_its_value() {
        let mut container = plain();
        container["Config"]["Env"] = json!(["PATH=/bin", "TOKEN=s3cret"]);
        container["Mounts"] = json!([{"Type": "volume", "Name": "a", "Destination": "/data", "RW": true}]);
        let (image, host) = (image(), "host");
        let old = Old { container: &container, image: &image, podman: false };
        let mut new = container.clone();
        new["Id"] = json!("1234567890ab");
        new["Config"]["Env"] = json!(["PATH=/other", "IMAGE_VERSION=2.0", "TOKEN=s3cret"]);
        new["Config"]["WorkingDir"] = json!("/new");
        new["HostConfig"]["CpuShares"] = json!(0);
        new["Mounts"] = json!([{"Type": "volume", "Name": "a", "Destination": "/data", "RW": true}, {"Type": "volume", "Name": "b", "Destination": "/more"}]);
        assert_eq!(old.differences(&new, host), [] as [&str; 0], "the new image may differ");
        new["Config"]["Env"] = json!([]);
        new["HostConfig"]["Privileged"] = json!(true);
        new["HostConfig"]["NetworkMode"] = json!("host");
        new["Mounts"] = json!([]);
        new["NetworkSettings"]["Networks"] = json!({});
        let expected = ["HostConfig.NetworkMode", "HostConfig.Privileged", "Config.Env", "Mounts", "NetworkSettings.Networks"];
        assert_eq!(old.differences(&new, host), expected);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let keys = prop_oneof![
                "[A-Za-z]{1,6}",
                Just("Env".to_owned()),
                Just("Networks".to_owned()),
                Just("Mounts".to_owned()),
                Just("Ulimits".to_owned())
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(keys, inner, 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_an_engine_says_makes_a_recipe(config in any_json(), host_config in any_json(), networks in any_json(), mounts in any_json(), podman: bool) {
            let container = json!({"Id": "1", "Config": config, "HostConfig": host_config, "Mounts": mounts, "NetworkSettings": networks});
            let old = Old { container: &container, image: &config, podman };
            prop_assert!(old.recipe("web", IMAGE_ID, "host").create["HostConfig"].is_object());
            let _ = old.differences(&container, "host");
        }
    }
}
