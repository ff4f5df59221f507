//! What `enid config from-env` prints reads back as the same settings, and wrong variables are named.

use super::*;
use crate::settings::{Settings, parse};

fn of_lines(lines: &str) -> Variables {
    Variables::of_lines(lines).unwrap().0
}

fn read(text: &str, variables: &Variables) -> Settings {
    let document = parse(text, Path::new("enid.toml"), variables).unwrap();
    assert_eq!(document.problems, [], "{text}");
    document.settings
}

/// Each with a value that is not the default.
const MANY: &str = "WARM_ENI_TARGET=3\nWARM_IP_TARGET=5\nMINIMUM_IP_TARGET=10\nWARM_PREFIX_TARGET=0\nMAX_ENI=4\n\
    ENABLE_PREFIX_DELEGATION=true\nIP_COOLDOWN_PERIOD=0\nAWS_MANAGE_ENIS_NON_SCHEDULABLE=true\n\
    DISABLE_NETWORK_RESOURCE_PROVISIONING=true\nENABLE_SUBNET_DISCOVERY=false\nMANAGE_UNTAGGED_ENI=false\n\
    AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true\nENI_CONFIG_LABEL_DEF=failure-domain.beta.kubernetes.io/zone\n\
    ADDITIONAL_ENI_TAGS={\"a.b/c d\": \"it's\\\"\\n#\\u0001 é\", \"team\": \"\"}\nCLUSTER_NAME=prod\n\
    ENABLE_MULTI_NIC=true\nAWS_VPC_ENI_MTU=1500\nPOD_MTU=1400\nAWS_VPC_K8S_CNI_VETHPREFIX=pod\n\
    AWS_VPC_K8S_CNI_EXTERNALSNAT=true\nAWS_VPC_K8S_CNI_RANDOMIZESNAT=none\n\
    AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=10.12.0.0/16,10.13.0.0/16\nAWS_VPC_CNI_NODE_PORT_SUPPORT=false\n\
    AWS_VPC_K8S_CNI_CONNMARK=0x100\nAWS_EXTERNAL_SERVICE_CIDRS=10.9.0.0/16\nENABLE_V6_EGRESS=true\n\
    AWS_EC2_ENDPOINT=https://ec2.example.org\nHTTP_TIMEOUT=20\nAWS_REGION=eu-central-1\n";

#[test]
fn what_is_printed_means_the_same_as_the_variables() {
    for lines in [
        MANY,
        "",
        "ENABLE_IPv4=false\nENABLE_IPv6=true\nENABLE_V4_EGRESS=false\n",
        "ENABLE_IMDS_ONLY_MODE=true",
    ] {
        let variables = of_lines(lines);
        let printed = from_env(&variables, &[]).unwrap();
        assert_eq!(read(&printed, &Variables::default()), read("", &variables), "{printed}");
        assert_eq!(read(&printed, &variables), read("", &variables), "the file wins, and says the same");
    }
}

#[test]
fn every_printed_setting_names_its_variable() {
    let printed = from_env(&of_lines(MANY), &[]).unwrap();
    let variables = MANY.lines().map(|line| line.split_once('=').unwrap().0);
    for variable in variables {
        assert!(printed.contains(&format!(" # {variable}\n")), "{variable}:\n{printed}");
    }
}

#[test]
fn only_what_is_not_the_default_is_printed() {
    let printed = from_env(&of_lines("AWS_VPC_ENI_MTU=9001\nWARM_ENI_TARGET=1\nMAX_ENI=3\n"), &[]).unwrap();
    let expected = "# What the Amazon VPC CNI's variables stand for, where it is not the default.\n\
                    \n[pool]\nmax_enis = 3 # MAX_ENI\n";
    assert_eq!(printed, expected);
}

#[test]
fn variables_without_meaning_are_comments_with_the_reason() {
    let printed = from_env(&of_lines("ENABLE_POD_ENI=true\nCLUSTER_ENDPOINT=https://x\n"), &["FOO"]).unwrap();
    let comments: Vec<&str> = printed.lines().skip(2).collect();
    let expected = [
        "# CLUSTER_ENDPOINT has no effect: of the API server the daemon asks only how many nodes there are, as kubernetes.kubeconfig says",
        "# ENABLE_POD_ENI has no effect: security groups for pods are not supported yet",
        "# FOO is no variable of the Amazon VPC CNI that is known here",
    ];
    assert_eq!(comments, expected);
    assert_eq!(read(&printed, &Variables::default()), Settings::default());
}

#[test]
fn custom_networking_says_what_it_still_needs() {
    let printed = from_env(&of_lines("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true"), &[]).unwrap();
    assert!(printed.contains("\n# custom_networking.enabled: no [eni_config.NAME]"), "{printed}");
}

#[test]
fn wrong_values_end_it_with_all_of_them() {
    let failure = from_env(&of_lines("MAX_ENI=x\nPOD_MTU=1\nAWS_REGION=a b\n"), &[]).unwrap_err();
    assert_eq!(failure.code, Failure::ARGUMENTS);
    let said = failure.to_string();
    assert_eq!(said.lines().count(), 3, "{said}");
    for name in ["MAX_ENI", "POD_MTU", "AWS_REGION"] {
        assert!(said.contains(name), "{said}");
    }
}
