//! The verb and the environment (spec 1.1.0, "Parameters"), read through one table.

use std::ffi::OsString;
use std::fmt;

use super::args::CniArgs;
use super::code::Code;
use super::error::CniError;

/// What a runtime wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Give the pod its interface and address.
    Add,
    /// Confirm that all is as ADD left it.
    Check,
    /// Take back what ADD gave.
    Del,
    /// Take back what belongs to no listed attachment.
    Gc,
    /// Can ADD be served?
    Status,
    /// Which spec versions are spoken?
    Version,
}

impl Verb {
    const ALL: [Verb; 6] = [Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status, Verb::Version];

    /// As spelled in `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Check => "CHECK",
            Verb::Del => "DEL",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The attachment that a call is about; the network's name comes with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`: never empty for ADD and CHECK, often for DEL.
    pub netns: String,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// `TRACEPARENT`.
    pub trace: Option<String>,
}

/// The environment of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// No verb: a person ran the plugin by hand.
    About,
    /// ADD.
    Add {
        /// Of what.
        target: Target,
        /// `CNI_NETNS_OVERRIDE`: the host's own namespace is meant.
        own_netns_allowed: bool,
    },
    /// CHECK.
    Check {
        /// Of what.
        target: Target,
    },
    /// DEL.
    Del {
        /// Of what.
        target: Target,
    },
    /// GC. The network and what is valid in it come with the configuration.
    Gc {
        /// `TRACEPARENT`.
        trace: Option<String>,
    },
    /// STATUS.
    Status,
    /// VERSION.
    Version,
}

impl Call {
    /// Reads the environment; every missing and every malformed variable is named in one error.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Call, CniError> {
        let mut environment = Environment { variable, missing: Vec::new(), malformed: Vec::new() };
        let command = environment.text("CNI_COMMAND");
        if command.is_empty() && environment.malformed.is_empty() {
            return Ok(Call::About);
        }
        let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.as_str() == command) else {
            let known = Verb::ALL.map(Verb::as_str).join(", ");
            let message =
                format!("CNI_COMMAND `{}` is unknown", command.chars().take(40).collect::<String>());
            return Err(CniError::new(Code::InvalidEnvironment, message, format!("it is one of {known}")));
        };
        environment.validate(verb);
        match verb {
            Verb::Add => {
                let target = environment.target(ArgsPolicy::Strict)?;
                let flag = environment.text("CNI_NETNS_OVERRIDE");
                Ok(Call::Add { target, own_netns_allowed: flag == "1" || flag.eq_ignore_ascii_case("true") })
            }
            Verb::Check => environment.target(ArgsPolicy::Strict).map(|target| Call::Check { target }),
            Verb::Del => environment.target(ArgsPolicy::Lenient).map(|target| Call::Del { target }),
            Verb::Gc => environment.outcome().map(|()| Call::Gc { trace: environment.trace() }),
            Verb::Status => environment.outcome().map(|()| Call::Status),
            Verb::Version => Ok(Call::Version),
        }
    }
}

/// Whether a fault in `CNI_ARGS` fails the call. It never fails a DEL, which is keyed without them.
#[derive(Clone, Copy)]
enum ArgsPolicy {
    Strict,
    Lenient,
}

/// One row per variable: who needs it, and its form.
struct Row {
    name: &'static str,
    needed_by: &'static [Verb],
    form: fn(&str) -> bool,
    rule: &'static str,
}

const TABLE: [Row; 4] = [
    Row {
        name: "CNI_CONTAINERID",
        needed_by: &[Verb::Add, Verb::Check, Verb::Del],
        form: is_cni_name,
        rule: "starts with a letter or digit, then at most 255 letters, digits, `_`, `.` or `-`",
    },
    Row {
        name: "CNI_NETNS",
        needed_by: &[Verb::Add, Verb::Check],
        form: |_| true,
        rule: "the path of a network namespace",
    },
    Row {
        name: "CNI_IFNAME",
        needed_by: &[Verb::Add, Verb::Check, Verb::Del],
        form: is_interface_name,
        rule: "1 to 15 bytes without `/`, `:` or white space, and neither `.` nor `..`",
    },
    Row { name: "CNI_PATH", needed_by: &[Verb::Gc], form: |_| true, rule: "a list of directories" },
];

struct Environment<F> {
    variable: F,
    missing: Vec<&'static str>,
    malformed: Vec<String>,
}

impl<F: Fn(&str) -> Option<OsString>> Environment<F> {
    /// A variable's value, empty when it is absent: runtimes use both for "none".
    fn text(&mut self, name: &'static str) -> String {
        match (self.variable)(name).unwrap_or_default().into_string() {
            Ok(text) => text,
            Err(_) => {
                let fault = format!("{name} is not UTF-8");
                if !self.malformed.contains(&fault) {
                    self.malformed.push(fault);
                }
                String::new()
            }
        }
    }

    fn validate(&mut self, verb: Verb) {
        for row in TABLE.iter().filter(|row| row.needed_by.contains(&verb)) {
            let faults = self.malformed.len();
            let value = self.text(row.name);
            if value.is_empty() {
                // A value that is not text is malformed, and not missing as well.
                if self.malformed.len() == faults {
                    self.missing.push(row.name);
                }
            } else if !(row.form)(&value) {
                let value: String = value.chars().take(80).collect();
                self.malformed.push(format!("{} `{value}` is malformed ({})", row.name, row.rule));
            }
        }
    }

    fn target(&mut self, policy: ArgsPolicy) -> Result<Target, CniError> {
        let args = match (CniArgs::parse(&self.text("CNI_ARGS")), policy) {
            (Ok(args), ArgsPolicy::Strict | ArgsPolicy::Lenient) => args,
            (Err(_), ArgsPolicy::Lenient) => CniArgs::default(),
            (Err(why), ArgsPolicy::Strict) => {
                self.malformed.push(format!("CNI_ARGS: {why}"));
                CniArgs::default()
            }
        };
        let target = Target {
            container: self.text("CNI_CONTAINERID"),
            ifname: self.text("CNI_IFNAME"),
            netns: self.text("CNI_NETNS"),
            args,
            trace: self.trace(),
        };
        self.outcome()?;
        Ok(target)
    }

    /// The trace that the call belongs to. What comes with it (`TRACESTATE`, `BAGGAGE`) is for tracing systems, and the
    /// daemon has none.
    fn trace(&self) -> Option<String> {
        // A trace id is 55 bytes; anything longer is not one.
        (self.variable)("TRACEPARENT")
            .and_then(|trace| trace.into_string().ok())
            .filter(|trace| !trace.is_empty() && trace.len() <= 128)
    }

    fn outcome(&self) -> Result<(), CniError> {
        let mut faults = self.malformed.clone();
        if !self.missing.is_empty() {
            faults.insert(0, format!("{} missing", self.missing.join(", ")));
        }
        if faults.is_empty() {
            return Ok(());
        }
        let message = format!("environment: {}", faults.join("; "));
        Err(CniError::new(Code::InvalidEnvironment, message, "the container runtime sets these variables"))
    }
}

/// A container id or network name (spec 1.1.0, "Parameters" and "Configuration format").
pub(super) fn is_cni_name(text: &str) -> bool {
    text.len() <= 256
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A name that a link may have (spec 1.1.0, "Parameters").
pub(super) fn is_interface_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn call(variables: &[(&str, &str)]) -> Result<Call, CniError> {
        Call::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
    }

    fn message(variables: &[(&str, &str)]) -> String {
        let error = call(variables).unwrap_err();
        assert_eq!(error.code, Code::InvalidEnvironment.number());
        error.message
    }

    #[test]
    fn every_missing_variable_is_named_at_once() {
        let missing = message(&[("CNI_COMMAND", "ADD"), ("CNI_NETNS", "")]);
        assert_eq!(missing, "environment: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME missing");
        let missing = message(&[("CNI_COMMAND", "DEL")]);
        assert_eq!(missing, "environment: CNI_CONTAINERID, CNI_IFNAME missing");
        assert_eq!(message(&[("CNI_COMMAND", "GC")]), "environment: CNI_PATH missing");
    }

    #[test]
    fn del_needs_no_netns_and_forgives_its_arguments() {
        let del = call(&[
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "nonsense"),
        ]);
        let Ok(Call::Del { target }) = del else { panic!("{del:?}") };
        assert_eq!((target.netns.as_str(), target.args), ("", CniArgs::default()));
    }

    #[test]
    fn malformed_names_are_refused() {
        for (container, ifname) in [
            ("-c", "eth0"),
            ("c/1", "eth0"),
            ("c\n", "eth0"),
            ("c1", "sixteen-bytes-xx"),
            ("c1", ".."),
            ("c1", "a:b"),
            ("c1", "a b"),
        ] {
            let text = message(&[
                ("CNI_COMMAND", "CHECK"),
                ("CNI_CONTAINERID", container),
                ("CNI_IFNAME", ifname),
                ("CNI_NETNS", "/n"),
            ]);
            assert!(text.contains("is malformed"), "{text}");
        }
    }

    #[test]
    fn unknown_verbs_are_named_and_none_means_about() {
        assert_eq!(message(&[("CNI_COMMAND", "add")]), "CNI_COMMAND `add` is unknown");
        assert_eq!(call(&[]), Ok(Call::About));
        assert_eq!(call(&[("CNI_COMMAND", "")]), Ok(Call::About));
        assert_eq!(call(&[("CNI_COMMAND", "VERSION"), ("CNI_IFNAME", "///")]), Ok(Call::Version));
        assert_eq!(call(&[("CNI_COMMAND", "STATUS")]), Ok(Call::Status));
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_and_not_a_panic() {
        let error = Call::read(|name| match name {
            "CNI_COMMAND" => Some(OsString::from("DEL")),
            _ => Some(OsString::from_vec(vec![0xff])),
        })
        .unwrap_err();
        assert_eq!(
            error.message,
            "environment: CNI_CONTAINERID is not UTF-8; CNI_IFNAME is not UTF-8; \
             CNI_ARGS is not UTF-8; CNI_NETNS is not UTF-8"
        );
        assert!(Call::read(|_| Some(OsString::from_vec(vec![0xff]))).is_err());
    }
}
