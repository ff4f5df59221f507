//! `[budget]`: the node's part of the account's limits.

use enid_core::budget::{Class, Limit};

use super::*;

#[test]
fn the_share_is_any_part_of_the_limits_and_never_nothing_or_more() {
    for (text, milli) in [("0.5", 500), ("1", 1000), ("1.0", 1000), ("0.001", 1), ("0.3333", 333)] {
        assert_eq!(valid(&format!("[budget]\nshare = {text}")).budget.share_milli, milli, "{text}");
    }
    for text in ["0", "0.0", "-0.5", "1.001", "2", "50", "inf", "nan", "'0.5'", "0.0001", "1e300"] {
        let (key, allowed) = not_allowed(&format!("[budget]\nshare = {text}"));
        assert_eq!((key.as_str(), allowed.contains("like 0.5")), ("budget.share", true), "{text}");
    }
}

#[test]
fn nodes_are_counted_from_one() {
    assert_eq!(valid("").budget.nodes, 10);
    assert_eq!(valid("[budget]\nnodes = 1").budget.nodes, 1);
    for text in ["0", "-1", "50001", "1.5", "'10'"] {
        assert_eq!(not_allowed(&format!("[budget]\nnodes = {text}")).0, "budget.nodes", "{text}");
    }
}

#[test]
fn limits_that_were_raised_are_given_by_class() {
    let text = "[budget.limits]\nmutation = { burst = 200, per_second = 20 }\ndescribe = { per_second = 40 }\n\
                addresses = { burst = 100, per_second = 5 }";
    let raised = [
        (Class::Mutation, Limit { burst: 200, per_second: 20 }),
        (Class::Describe, Limit { per_second: 40, ..Class::Describe.documented() }),
    ];
    assert_eq!(valid(text).budget.limits, raised.into());
    for (text, key) in [
        ("mutation = { burst = 0 }", "budget.limits.mutation.burst"),
        ("describe = { per_second = 0.5 }", "budget.limits.describe.per_second"),
        ("interfaces = 100", "budget.limits.interfaces"),
    ] {
        assert_eq!(not_allowed(&format!("[budget.limits]\n{text}")).0, key);
    }
    let unknown = parsed("[budget.limits]\nCreateNetworkInterface = { burst = 1 }").unwrap_err().to_string();
    assert!(unknown.contains("here may be describe, mutation, interfaces"), "{unknown}");
}

#[test]
fn the_node_is_given_the_budget() {
    let settings = valid("[budget]\nshare = 0.25\nnodes = 40\nlimits.describe = { burst = 400 }");
    let budget = node_config(&settings, "eu-central-1a").budget;
    assert_eq!((budget.share_milli, budget.nodes), (250, 40));
    assert_eq!(budget.limit(Class::Describe), Limit { burst: 400, per_second: 20 });
    assert_eq!(budget.limit(Class::Mutation), Class::Mutation.documented());
}
