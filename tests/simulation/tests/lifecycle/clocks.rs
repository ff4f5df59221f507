//! Clocks that disagree: the plugin dates the DELs that it spools, the daemon the ADDs.

use enid_core::event::{Effect, Event};
use enid_core::node::NodeState;

use super::*;

#[test]
fn a_spooled_delete_that_is_dated_a_little_too_early_is_about_the_pod() {
    let mut node = a_small_node(ready(1));
    let asked = node.now();
    let address = add_settled(&mut node, "a").expect("an address");
    let late = node.del_issued(attachment("a"), Some(asked - secs(3)));
    settle(&mut node);
    assert_eq!(node.answer(late), Some(&Answer::Deleted));
    assert_eq!(state_of(&node, address), "cooling");
    node.pass(secs(120));
    settle(&mut node);
    expect_converged(&mut node);
}

#[test]
fn a_delete_counts_after_the_clock_stepped_back() {
    let mut node = a_small_node(ready(1));
    let address = add_settled(&mut node, "a").expect("an address");
    let known = enid_core::instance_types::lookup("t3.small").expect("a known type");
    let identity = node.state().identity().clone();
    // An hour before the pod came, by the clock of today.
    let now = node.now() - secs(3600);
    for issued in [None, Some(now - secs(60))] {
        let (mut restored, _) =
            NodeState::restore(Config::default(), identity.clone(), known.clone(), &node.journal, now);
        let del = Event::Del { ticket: Ticket(1), attachment: attachment("a"), issued };
        let effects = restored.handle(now, del);
        let unwires =
            |effect: &Effect| matches!(effect, Effect::Unwire { wiring, .. } if wiring.key() == address);
        assert!(effects.iter().any(unwires), "{issued:?}: {effects:?}");
    }
    expect_converged(&mut node);
}
