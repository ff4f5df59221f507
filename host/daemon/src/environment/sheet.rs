//! The table of variables as a page for people: `deploy/VARIABLES.md`.

use super::Meaning;
use super::table::TABLE;

/// The page.
pub(crate) fn sheet() -> String {
    let (mut standing, mut idle) = (String::new(), String::new());
    for variable in TABLE {
        match &variable.meaning {
            Meaning::Setting { keys, how, .. } => {
                let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                standing.push_str(&format!("| `{}` | {} | {how} |\n", variable.name, keys.join(", ")));
            }
            Meaning::Nothing(why) => idle.push_str(&format!("| `{}` | {why} |\n", variable.name)),
        }
    }
    format!("{HEAD}{standing}{MIDDLE}{idle}")
}

const HEAD: &str = "\
# The Amazon VPC CNI's variables

`enid run` and `enid check-settings` take the incumbent's environment variables by their names, for settings that the
file does not make: **the file wins, key by key.** A value that does not fit is refused as one in the file would be. An
empty value counts as not set. At its start the daemon says once which settings are not the default, and for each the
line or the variable that it comes from.

`enid config from-env` prints the same as TOML, for the variables in its own environment or, with `--file FILE`, in
`KEY=VALUE` lines, for example of `kubectl -n kube-system set env daemonset/aws-node --list`. `enid config variables`
prints this page.

| variable | setting | in particular |
| --- | --- | --- |
";

const MIDDLE: &str = "
The targets of the warm pool are settings of the strategy `warm-targets`. They count as long as the file does not have
another strategy decide.

## Without meaning here

They are accepted, and named with the reason in the daemon's log and by `enid config from-env`.

| variable | because |
| --- | --- |
";
