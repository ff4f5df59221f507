//! `[kubernetes]`: how the cluster is asked.

use super::*;

#[test]
fn the_cluster_is_asked_as_the_operator_says_or_not_at_all() {
    for (text, asker) in [
        ("in-cluster", Some(Asker::Pod)),
        ("off", None),
        ("", None),
        ("/etc/kubernetes/enid.conf", Some(Asker::Kubeconfig("/etc/kubernetes/enid.conf".into()))),
        ("enid.conf", Some(Asker::Kubeconfig("/etc/enid/enid.conf".into()))),
    ] {
        let settings = valid(&format!("[kubernetes]\nkubeconfig = {text:?}"));
        assert_eq!(settings.kubernetes.asker, asker, "{text}");
    }
    assert_eq!(valid("").kubernetes.asker, Some(Asker::Pod));
}

#[test]
fn what_is_no_path_is_refused() {
    for text in ["1", "true", "'a\\u0000b'", "[]"] {
        let (key, allowed) = not_allowed(&format!("[kubernetes]\nkubeconfig = {}", text.replace('\'', "\"")));
        assert_eq!((key.as_str(), allowed.contains("in-cluster")), ("kubernetes.kubeconfig", true), "{text}");
    }
}
