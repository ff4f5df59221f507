//! Every obligation of a CNI plugin has a test, and every test that claims one is listed here.
//!
//! The numbers are those of our own reading of the CNI specification 1.1.0 and of what its runtimes do: C1 to C18 how a plugin
//! is called, C19 to C29 its configuration, C30 to C43 ADD, C44 to C53 DEL, C54 to C60 CHECK, C61 to C68 STATUS, C69 to C76 GC,
//! C77 to C85 errors, delegation and what runtimes rely on. A test says which it is about by how its name begins: `c05_…`, or
//! `c70_c75_…`.

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tidy::root;

/// Where the tests are: those that take only the plugin, and those that take a node.
const PLACES: [&str; 2] = ["host/plugin/tests/conformance", "tests/e2e/tests/conformance"];

/// What each obliges to, in order, and its tests.
const OBLIGATIONS: [(&str, &[&str]); 85] = [
    (
        "unknown verbs are code 4",
        &["c01_unknown_verbs_are_code_4_and_name_the_value", "c01_all_six_verbs_are_served"],
    ),
    ("ADD names every missing variable", &["c02_add_names_every_missing_variable"]),
    ("CHECK needs what ADD needs", &["c03_check_needs_what_add_needs"]),
    ("DEL needs no namespace", &["c04_del_needs_a_container_and_an_interface_and_no_namespace"]),
    ("GC needs CNI_PATH, STATUS does not", &["c05_gc_needs_the_plugin_path_and_status_does_not"]),
    ("VERSION needs nothing", &["c06_version_needs_nothing_but_the_verb"]),
    ("no verb introduces itself", &["c07_without_a_verb_it_introduces_itself_on_stderr"]),
    ("the form of container ids", &["c08_container_ids_have_the_form_of_the_spec"]),
    ("the form of interface names", &["c09_interface_names_are_those_that_a_link_may_have"]),
    ("the form of network names", &["c10_a_network_has_a_name_of_the_spec_s_form"]),
    ("types are no paths", &["c11_types_are_never_used_as_paths"]),
    ("unknown CNI_ARGS fail unless ignored", &["c12_unknown_cni_args_fail_unless_they_may_be_ignored"]),
    ("args win over CNI_ARGS", &["c13_args_of_the_configuration_win_over_cni_args"]),
    ("the override of the own namespace", &["c14_only_the_override_lets_the_own_namespace_be_a_pod_s"]),
    (
        "parallel calls",
        &[
            "c15_parallel_calls_for_different_containers_lose_nothing",
            "c15_parallel_calls_for_different_containers_get_different_addresses",
        ],
    ),
    ("replaced by rename", &["c16_the_program_is_replaced_by_a_rename_while_it_runs"]),
    (
        "bounded run time",
        &[
            "c17_no_verb_waits_longer_than_its_deadline_and_each_says_why",
            "c17_an_add_that_cannot_be_served_ends_with_its_reason_and_leaves_nothing",
        ],
    ),
    ("traces", &["c18_the_trace_reaches_the_daemon_and_nothing_about_it_breaks_a_call"]),
    (
        "undecodable is 6, meaningless is 7",
        &["c19_what_cannot_be_read_is_code_6_and_what_cannot_be_meant_is_code_7"],
    ),
    (
        "unknown keys are refused by name and value",
        &["c20_an_unknown_key_is_refused_by_name_and_value_and_reserved_ones_are_not"],
    ),
    ("unsupported versions are code 1", &["c21_a_version_that_is_not_spoken_is_code_1_and_none_means_0_1_0"]),
    ("newer optional fields", &["c22_newer_optional_fields_of_the_same_major_version_are_accepted"]),
    ("VERSION lists versions", &["c23_version_lists_what_is_spoken"]),
    ("results per version", &["c24_each_version_has_its_own_form_of_the_result"]),
    ("verbs of later versions are code 1", &["c25_a_verb_that_the_version_does_not_have_is_code_1"]),
    ("no verb succeeds silently", &["c26_no_verb_succeeds_without_the_daemon_s_word"]),
    (
        "every listed version works",
        &[
            "c27_every_version_that_is_listed_works_with_every_verb_that_it_has",
            "c27_libcni_takes_the_highest_version_of_a_list_and_every_verb_works_there",
        ],
    ),
    ("the runtime's switches", &["c28_the_runtime_s_switches_change_nothing_here"]),
    ("capabilities are declared", &["c29_every_capability_that_is_used_is_declared_and_none_is_needed"]),
    (
        "the own namespace is refused",
        &[
            "c30_the_own_namespace_is_no_pod_s_and_the_daemon_is_not_even_asked",
            "c30_what_is_no_namespace_is_refused_without_being_waited_for",
        ],
    ),
    ("an existing interface is an error", &["c31_an_interface_of_that_name_is_an_error_and_stays_as_it_is"]),
    (
        "one document on stdout",
        &[
            "c32_success_is_exit_0_and_one_document_on_stdout",
            "c32_the_daemon_gets_the_pod_and_the_namespace_itself",
        ],
    ),
    (
        "interfaces with MAC and MTU",
        &[
            "c33_both_ends_of_every_pair_are_reported_with_mac_and_mtu",
            "c33_c34_c35_the_result_is_what_the_kernel_has",
        ],
    ),
    (
        "addresses with index and gateway",
        &[
            "c34_addresses_point_at_the_pod_s_interfaces_with_their_gateways",
            "c33_c34_c35_the_result_is_what_the_kernel_has",
        ],
    ),
    ("routes", &["c33_c34_c35_the_result_is_what_the_kernel_has"]),
    (
        "earlier results are kept",
        &[
            "c36_nothing_that_an_earlier_plugin_said_is_dropped",
            "c36_three_other_plugins_work_after_enid_and_check_finds_all_of_them_well",
        ],
    ),
    ("no previous result at first", &["c37_the_first_plugin_of_a_chain_gets_no_previous_result"]),
    ("a failed ADD leaves nothing", &["c38_a_failed_add_leaves_nothing_behind"]),
    ("code 11 with a typed reason", &["c39_what_may_pass_is_code_11_with_the_daemon_s_reason_untouched"]),
    ("nothing printed when ended", &["c40_a_call_that_is_ended_has_printed_nothing"]),
    ("ADD again gives the same", &["c41_a_repeated_add_gets_the_same_result_and_no_second_address"]),
    ("no nulls, no empty dns", &["c42_nothing_is_null_and_dns_is_there_only_when_it_says_something"]),
    (
        "libcni reads every result",
        &[
            "c43_no_result_has_a_field_that_its_version_does_not_know",
            "c43_every_release_of_libcni_reads_the_results_of_every_version_it_knows",
        ],
    ),
    (
        "DEL again",
        &[
            "c44_repeating_a_del_succeeds_with_the_daemon_and_without",
            "c44_c45_a_del_may_come_as_often_as_it_likes_and_of_what_never_was",
        ],
    ),
    (
        "DEL of a stranger",
        &[
            "c45_the_plugin_knows_no_containers_and_passes_on_every_del",
            "c44_c45_a_del_may_come_as_often_as_it_likes_and_of_what_never_was",
        ],
    ),
    (
        "DEL without a namespace",
        &[
            "c46_a_del_needs_no_namespace_and_sends_none",
            "c46_a_namespace_that_is_gone_empty_or_no_namespace_keeps_nothing",
        ],
    ),
    (
        "DEL without a previous result",
        &[
            "c47_no_previous_result_keeps_a_del_from_succeeding",
            "c47_releasing_does_not_depend_on_the_previous_result",
        ],
    ),
    (
        "DEL does what it can",
        &[
            "c48_a_del_fails_only_where_asking_again_can_help",
            "c48_what_is_half_gone_is_taken_away_the_rest_of_the_way",
        ],
    ),
    (
        "DEL after and before a failed ADD",
        &["c49_a_del_takes_back_what_a_failed_add_had_and_may_come_before_the_add"],
    ),
    ("DEL of one container alone", &["c50_c53_a_del_hurts_no_other_container_s_interface_of_the_same_pod"]),
    ("DEL never blocks a chain needlessly", &["c51_enid_s_del_stops_no_chain_also_without_a_daemon"]),
    (
        "DEL without a daemon",
        &[
            "c52_a_del_without_a_daemon_is_kept_until_one_has_applied_it",
            "c52_a_plugin_that_is_killed_at_any_moment_leaves_nothing_or_a_whole_entry",
            "c52_a_daemon_that_starts_meanwhile_is_reached_and_no_entry_left",
            "c52_a_del_to_a_daemon_that_hangs_or_breaks_off_is_kept",
            "c52_dels_without_a_daemon_are_applied_before_the_next_one_s_first_answer",
        ],
    ),
    (
        "a late DEL",
        &[
            "c50_c53_a_del_hurts_no_other_container_s_interface_of_the_same_pod",
            "c53_a_del_from_the_spool_never_frees_the_address_s_next_owner",
        ],
    ),
    ("CHECK needs a previous result", &["c54_check_without_a_previous_result_is_code_7"]),
    ("CHECK of what is ours", &["c55_check_names_what_of_ours_is_missing_and_ignores_what_others_added"]),
    ("CHECK beyond results", &["c56_rules_that_no_result_shows_are_checked_too"]),
    ("CHECK right after ADD", &["c57_a_check_right_after_its_add_finds_everything"]),
    ("CHECK of reachability", &["c58_a_pod_that_cannot_be_reached_is_not_well"]),
    (
        "CHECK reads only",
        &["c59_check_prints_nothing_when_all_is_well_and_says_what_is_not", "c59_check_changes_nothing"],
    ),
    ("CHECK delegates nothing", &["c60_check_delegates_to_no_address_manager"]),
    (
        "STATUS 0 when ADD can be served",
        &[
            "c61_status_is_exit_0_when_the_daemon_says_so_and_only_then",
            "c61_c62_libcni_hears_that_no_add_can_be_served",
            "c61_status_is_well_when_an_add_would_be_served",
            "c61_a_node_that_carries_all_the_pods_it_may_is_well",
        ],
    ),
    (
        "STATUS 50 and 51",
        &[
            "c62_the_daemon_tells_50_from_51_and_its_reason_arrives_untouched",
            "c61_c62_libcni_hears_that_no_add_can_be_served",
            "c62_c63_c65_a_node_without_an_address_says_why_until_it_has_one_and_an_add_is_served_all_the_same",
        ],
    ),
    (
        "STATUS and its causes",
        &[
            "c63_a_daemon_that_is_away_late_or_garbled_is_code_50_with_the_reason",
            "c63_a_daemon_of_before_says_that_it_is_too_old",
            "c62_c63_c65_a_node_without_an_address_says_why_until_it_has_one_and_an_add_is_served_all_the_same",
            "c63_a_daemon_that_is_gone_or_hangs_cannot_serve",
        ],
    ),
    ("STATUS delegates nothing", &["c64_status_delegates_to_no_address_manager"]),
    (
        "ADD whatever STATUS said",
        &[
            "c65_add_is_served_whatever_status_said",
            "c62_c63_c65_a_node_without_an_address_says_why_until_it_has_one_and_an_add_is_served_all_the_same",
        ],
    ),
    (
        "STATUS is cheap",
        &["c66_status_asks_one_thing_and_touches_nothing", "c66_status_costs_no_call_and_changes_nothing"],
    ),
    ("STATUS is debounced", &["c67_a_pool_that_is_empty_for_a_moment_is_not_a_node_that_fails"]),
    ("STATUS errors on stdout", &["c68_the_error_is_on_stdout"]),
    (
        "GC's two keys",
        &[
            "c69_what_is_valid_is_read_from_either_key_and_the_spec_s_is_preferred",
            "c69_c70_c76_gc_by_libcni_deletes_what_is_not_valid_and_enid_agrees",
        ],
    ),
    (
        "GC releases what is not listed",
        &[
            "c69_c70_c76_gc_by_libcni_deletes_what_is_not_valid_and_enid_agrees",
            "c70_c75_what_is_not_listed_goes_unless_it_is_young_or_somebody_lives_in_it",
        ],
    ),
    (
        "GC reports errors",
        &[
            "c71_what_the_daemon_could_not_release_is_the_runtime_s_to_know",
            "c71_gc_reports_that_it_did_not_happen",
        ],
    ),
    ("GC delegates nothing", &["c72_gc_delegates_to_no_address_manager"]),
    ("GC beside other calls", &["c73_gc_is_safe_beside_adds_and_dels"]),
    (
        "GC without a list",
        &[
            "c74_a_list_that_is_absent_or_unreadable_releases_nothing_and_an_empty_one_is_passed_on",
            "c74_a_list_that_does_not_fit_is_an_error_and_is_not_cut_short",
            "c74_cnitool_s_gc_has_no_list_so_it_deletes_what_it_knows_and_nothing_else_goes",
            "c74_without_a_list_nothing_goes",
        ],
    ),
    ("GC's quarantine", &["c70_c75_what_is_not_listed_goes_unless_it_is_young_or_somebody_lives_in_it"]),
    (
        "GC after DELs",
        &[
            "c69_c70_c76_gc_by_libcni_deletes_what_is_not_valid_and_enid_agrees",
            "c76_gc_accepts_what_was_released_before_and_knows_its_own_network_only",
        ],
    ),
    ("the error object", &["c77_an_error_is_one_object_on_stdout_with_its_four_fields"]),
    (
        "the codes",
        &[
            "c78_codes_are_the_spec_s_or_enid_s_own_and_never_3",
            "c78_a_code_that_is_newer_than_the_plugin_is_passed_on",
        ],
    ),
    ("one cause, one code", &["c79_one_cause_has_one_code_whichever_verb_meets_it"]),
    ("no program is looked for", &["c80_no_program_is_looked_for_in_the_plugin_path"]),
    ("no address manager's result", &["c81_the_result_is_a_whole_plugin_s_and_never_an_address_manager_s"]),
    (
        "no runtime treats 11 specially",
        &["c82_every_retry_of_a_sandbox_is_a_new_container_and_the_old_one_s_del"],
    ),
    (
        "identity is with the daemon",
        &["c83_what_identifies_an_attachment_is_with_the_daemon_and_not_in_the_runtime_s_cache"],
    ),
    ("the conflist and readiness", &["c84_the_installed_conflist_serves_before_during_and_after_a_daemon"]),
    (
        "older results",
        &[
            "c85_every_result_that_enid_ever_printed_serves_check_and_del",
            "c85_a_result_of_any_version_that_enid_has_printed_serves_check_and_del",
        ],
    ),
];

/// The obligations that a test's name begins with.
fn claimed(name: &str) -> Vec<usize> {
    let number = |part: &str| {
        let digits = part.strip_prefix('c').filter(|digits| digits.len() == 2)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    name.split('_').map_while(number).collect()
}

/// The names of the tests in a source.
fn tests_in(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let follows = |(index, line): (usize, &&str)| {
        (*line == "#[test]").then(|| lines[index + 1..].iter())?.find_map(|line| line.strip_prefix("fn "))
    };
    lines
        .iter()
        .enumerate()
        .filter_map(follows)
        .filter_map(|rest| rest.split_once('('))
        .map(|(name, _)| name)
        .collect()
}

/// All tests of obligations, by obligation.
fn tests_by_obligation(root: &Path) -> BTreeMap<usize, BTreeSet<String>> {
    let mut found: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for place in PLACES {
        for file in fs::read_dir(root.join(place)).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            for name in tests_in(&text) {
                for obligation in claimed(name) {
                    found.entry(obligation).or_default().insert(name.to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn every_obligation_has_the_tests_that_are_listed_and_no_others() {
    let found = tests_by_obligation(&root());
    let mut violations = Vec::new();
    for (obligation, (what, tests)) in (1..).zip(OBLIGATIONS) {
        let listed: BTreeSet<String> = tests.iter().map(|name| (*name).to_owned()).collect();
        let there = found.get(&obligation).cloned().unwrap_or_default();
        if listed.is_empty() {
            violations.push(format!("C{obligation} ({what}) has no test"));
        }
        violations.extend(
            listed.difference(&there).map(|name| format!("C{obligation} ({what}): {name} is not there")),
        );
        violations.extend(
            there.difference(&listed).map(|name| format!("C{obligation} ({what}): {name} is not listed")),
        );
    }
    let beyond = found.keys().filter(|number| !(1..=OBLIGATIONS.len()).contains(*number));
    violations.extend(beyond.map(|number| format!("there is no C{number}")));
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn names_say_which_obligations_they_are_about() {
    for (name, obligations) in [
        ("c05_gc_needs_a_path", vec![5]),
        ("c70_c75_what_is_not_listed", vec![70, 75]),
        ("c5_short", vec![]),
        ("c123_long", vec![]),
        ("check_c05", vec![]),
        ("cxx_", vec![]),
    ] {
        assert_eq!(claimed(name), obligations, "{name}");
    }
    let source = "#[test]\nfn c01_a() {}\nfn c02_no_test() {}\n    #[test]\n    #[ignore = \"x\"]\n    fn c03_b() {}\n";
    assert_eq!(tests_in(source), ["c01_a", "c03_b"]);
}
