//! `[observe]`: where the daemon is seen from outside.

use super::*;

#[test]
fn metrics_are_served_where_the_operator_says_or_nowhere() {
    for (text, listen) in [
        ("0.0.0.0:61678", Some("0.0.0.0:61678")),
        ("127.0.0.1:9100", Some("127.0.0.1:9100")),
        ("[::]:61678", Some("[::]:61678")),
        ("off", None),
        ("", None),
    ] {
        let settings = valid(&format!("[observe]\nlisten = {text:?}"));
        assert_eq!(settings.observe.listen, listen.map(|address| address.parse().unwrap()), "{text}");
    }
    assert_eq!(valid("").observe.listen, Some("0.0.0.0:61678".parse().unwrap()));
}

#[test]
fn what_is_no_address_with_a_port_is_refused() {
    for text in
        ["61678", "'61678'", "':61678'", "'0.0.0.0'", "'0.0.0.0:0'", "'localhost:61678'", "'no'", "false"]
    {
        let (key, allowed) = not_allowed(&format!("[observe]\nlisten = {text}"));
        assert_eq!((key.as_str(), allowed.contains("\"off\"")), ("observe.listen", true), "{text}");
    }
}
