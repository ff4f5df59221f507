//! The environment variables of the Amazon VPC CNI, each with the settings that it stands for here, or the reason why
//! it stands for none.
//!
//! Operators who come from it keep their DaemonSet's variables: [`Variables::of_process`] takes them in, and
//! [`Overlay::over`] turns them into values for settings that the file leaves out. From there on they are read and
//! checked like the file's own. Map: `table` the variables, `reading` what their values mean, `sheet` the table as a
//! page for people.

mod reading;
mod sheet;
mod table;

use std::collections::BTreeMap;

use toml::de::DeTable;

use crate::settings::{Filling, Problem, sets};

use reading::{Asked, Reading};
pub(crate) use sheet::sheet;
use table::{TABLE, Variable};

/// Characters of a wrong value that a problem shows.
const SHOWN: usize = 60;

/// What a variable means here.
enum Meaning {
    /// It stands for settings.
    Setting {
        /// Their dotted keys.
        keys: &'static [&'static str],
        /// What is particular about its values.
        how: &'static str,
        /// Turns its value into theirs.
        read: fn(&Asked<'_>) -> Reading,
    },
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// Those variables that are set, by name. An empty value counts as not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let set = |variable: &Variable| {
            Some((variable.name, std::env::var_os(variable.name)?.to_string_lossy().into_owned()))
        };
        Self::from_pairs(TABLE.iter().filter_map(set))
    }

    /// Those of `KEY=VALUE` lines, as `kubectl set env --list` prints them; empty lines and comments are passed over.
    /// The second are names that are not known; the error is the number of a line that is none of these.
    pub(crate) fn of_lines(text: &str) -> Result<(Self, Vec<&str>), usize> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or(index + 1)?;
            match TABLE.iter().find(|variable| variable.name == name.trim()) {
                Some(variable) => known.push((variable.name, value.to_owned())),
                None => unknown.push(name.trim()),
            }
        }
        Ok((Self::from_pairs(known), unknown))
    }

    fn from_pairs(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let trimmed = pairs.into_iter().map(|(name, value)| (name, value.trim().to_owned()));
        Self(trimmed.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Its value.
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A variable that is set and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    /// The variable.
    pub(crate) variable: &'static str,
    /// Why it changes nothing.
    pub(crate) why: String,
}

/// What variables come to for one settings file.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Values for settings that the file does not make.
    pub(crate) fillings: Vec<Filling>,
    /// Variables that change nothing, in the order of the table.
    pub(crate) idle: Vec<Idle>,
    /// Values that are not what their variables take.
    pub(crate) problems: Vec<Problem>,
}

impl Overlay {
    /// What `variables` come to for a file that says `file`, which wins key by key.
    pub(crate) fn over(file: &DeTable<'_>, variables: &Variables) -> Self {
        let mut overlay = Self::default();
        for variable in TABLE {
            let Some(value) = variables.value(variable.name) else { continue };
            match &variable.meaning {
                Meaning::Nothing(why) => overlay.leave(variable, (*why).to_owned()),
                Meaning::Setting { keys, read, .. } => {
                    let asked = Asked { value, keys, variables, file };
                    overlay.take(variable, keys, &asked, read(&asked));
                }
            }
        }
        overlay
    }

    fn take(&mut self, variable: &Variable, keys: &[&str], asked: &Asked<'_>, reading: Reading) {
        let made = |key: &&str| sets(asked.file, &path_of(key));
        // Whoever moved a setting into the file is not held up by what the variable used to say. Tags are made one by
        // one.
        let all_made = keys.iter().all(made) && keys != [reading::TAGS];
        match reading {
            _ if all_made => self.leave(variable, format!("the file sets {}", keys.join(", "))),
            Reading::Values(values) => {
                for (path, value) in values {
                    match sets(asked.file, &path) {
                        true => self.leave(variable, format!("the file sets {}", path.join("."))),
                        false => self.fillings.push(Filling { path, value, variable: variable.name }),
                    }
                }
            }
            Reading::AsUsual => {}
            Reading::Idle(why) => self.leave(variable, why.to_owned()),
            Reading::Wrong { value, allowed } => self.problems.push(Problem::Variable {
                name: variable.name,
                value: format!("{:?}", value.chars().take(SHOWN).collect::<String>()),
                key: keys.join(", "),
                allowed,
            }),
        }
    }

    fn leave(&mut self, variable: &Variable, why: String) {
        self.idle.push(Idle { variable: variable.name, why });
    }
}

fn path_of(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
