//! `CNI_ARGS`: how Kubernetes' runtimes name the pod.

use crate::message::Pod;

/// What enid takes from `CNI_ARGS`, a list `K=V;K=V` in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `K8S_POD_NAME`.
    pub name: Option<String>,
    /// `K8S_POD_UID`.
    pub uid: Option<String>,
}

impl CniArgs {
    /// Reads the list. A key that enid does not know is a fault unless `IgnoreUnknown` is `1` or `true`.
    pub fn parse(text: &str) -> Result<CniArgs, String> {
        let mut args = CniArgs::default();
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{}` is not KEY=VALUE", short(pair)));
            };
            let said = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match key {
                "IgnoreUnknown" => ignore_unknown = value == "1" || value.eq_ignore_ascii_case("true"),
                "K8S_POD_NAMESPACE" => args.namespace = said(),
                "K8S_POD_NAME" => args.name = said(),
                "K8S_POD_UID" => args.uid = said(),
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                other => unknown.push(short(other)),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(format!("unknown key {} without IgnoreUnknown=1", unknown.join(", ")));
        }
        Ok(args)
    }

    /// What `later` says replaces what `self` says.
    pub fn overridden_by(self, later: CniArgs) -> CniArgs {
        CniArgs {
            namespace: later.namespace.or(self.namespace),
            name: later.name.or(self.name),
            uid: later.uid.or(self.uid),
        }
    }

    /// The pod, if it is named in full.
    pub fn into_pod(self) -> Option<Pod> {
        Some(Pod { namespace: self.namespace?, name: self.name?, uid: self.uid })
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_read_in_any_order() {
        let args = CniArgs::parse(
            "K8S_POD_UID=u-1;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;IgnoreUnknown=1;Other=2;K8S_POD_NAMESPACE=default",
        );
        let pod =
            Pod { namespace: "default".to_owned(), name: "web".to_owned(), uid: Some("u-1".to_owned()) };
        assert_eq!(args.unwrap().into_pod(), Some(pod));
    }

    #[test]
    fn unknown_keys_need_ignore_unknown() {
        for (args, ok) in [
            ("", true),
            ("A=1", false),
            ("A=1;IgnoreUnknown=1", true),
            ("IgnoreUnknown=TRUE;A=1;", true),
            ("IgnoreUnknown=0;A=1", false),
            ("IgnoreUnknown=1;A", false),
            ("K8S_POD_NAME=a=b", true),
        ] {
            assert_eq!(CniArgs::parse(args).is_ok(), ok, "{args}");
        }
    }

    #[test]
    fn half_a_name_is_no_pod() {
        assert_eq!(CniArgs::parse("K8S_POD_NAME=web;K8S_POD_NAMESPACE=").unwrap().into_pod(), None);
    }
}
