//! What a pod asks for in its annotations. Runtimes pass them on in `runtimeConfig` when the conflist declares
//! [`CAPABILITY`].

use serde_json::{Map, Value};

use super::config::shown;

/// The capability with which containerd and CRI-O give a plugin the pod's annotations: an object of strings.
pub const CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";
/// How many interfaces a pod wants.
pub const NIC_CONFIG: &str = "k8s.amazonaws.com/nicConfig";
/// The one value of [`NIC_CONFIG`]; an empty one is as good as none.
pub const EVERY_CARD: &str = "multi-nic-attachment";

/// How many interfaces a pod wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nics {
    /// The one that the runtime names.
    #[default]
    One,
    /// One on every network card.
    EveryCard,
}

impl Nics {
    /// Reads a configuration's `runtimeConfig`. Other capabilities and other annotations are other programs'.
    pub(super) fn asked_for(runtime_config: &Value) -> Result<Nics, String> {
        let capabilities = object(runtime_config, "`runtimeConfig`")?;
        let Some(annotations) = capabilities.get(CAPABILITY).filter(|value| !value.is_null()) else {
            return Ok(Nics::One);
        };
        match object(annotations, &format!("`runtimeConfig.{CAPABILITY}`"))?.get(NIC_CONFIG) {
            None => Ok(Nics::One),
            Some(Value::String(value)) if value.is_empty() => Ok(Nics::One),
            Some(Value::String(value)) if value == EVERY_CARD => Ok(Nics::EveryCard),
            Some(other) => Err(format!(
                "the pod's annotation `{NIC_CONFIG}` is {}; its only value is \"{EVERY_CARD}\"",
                shown(other)
            )),
        }
    }
}

fn object<'a>(value: &'a Value, name: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{name} is {}, not an object", shown(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_one_value_of_the_annotation_is_understood() {
        let asked = |value: Value| Nics::asked_for(&json!({ CAPABILITY: { NIC_CONFIG: value, "a": "b" } }));
        assert_eq!(asked(json!(EVERY_CARD)), Ok(Nics::EveryCard));
        for value in [json!("multi-nic"), json!("Multi-Nic-Attachment"), json!(" "), json!(null), json!(true)]
        {
            let fault = asked(value.clone()).unwrap_err();
            assert!(fault.contains(NIC_CONFIG) && fault.contains(&value.to_string()), "{fault}");
        }
        let fault = asked(json!("x".repeat(100_000))).unwrap_err();
        assert!(fault.len() < 300, "{} bytes", fault.len());
    }

    #[test]
    fn a_pod_without_the_annotation_gets_one_interface() {
        for config in [
            json!({}),
            json!({ "portMappings": [{ "hostPort": 80 }] }),
            json!({ CAPABILITY: null }),
            json!({ CAPABILITY: {} }),
            json!({ CAPABILITY: { NIC_CONFIG: "" } }),
            json!({ CAPABILITY: { "k8s.amazonaws.com/other": EVERY_CARD } }),
            json!({ NIC_CONFIG: EVERY_CARD }),
        ] {
            assert_eq!(Nics::asked_for(&config), Ok(Nics::One), "{config}");
        }
        for config in [json!([]), json!("x"), json!({ CAPABILITY: [] }), json!({ CAPABILITY: EVERY_CARD })] {
            assert!(Nics::asked_for(&config).unwrap_err().contains("not an object"), "{config}");
        }
    }
}
