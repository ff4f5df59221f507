//! A folder with one strategy, and how it becomes a component.
//!
//! Which language it is follows from what is in the folder: `Cargo.toml`, `strategy.c`, `strategy.js` or
//! `strategy.py`. All but Rust need a `strategy.toml` beside it that names the strategy and its kind, because
//! the bindings are generated from them.

mod c;
mod javascript;
mod python;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use crate::{Error, Kind, adapt, imports, output, rust, toolchain};

/// A language that strategies are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C, with clang and wasi-libc.
    C,
    /// JavaScript, with QuickJS inside the component.
    JavaScript,
    /// Python, with CPython inside the component.
    Python,
    /// Rust, with the guest SDK.
    Rust,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 4] = [Self::C, Self::JavaScript, Self::Python, Self::Rust];

    /// The language as the command line writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// The file whose presence says that a project is in this language.
    pub fn marker(self) -> &'static str {
        match self {
            Self::C => "strategy.c",
            Self::JavaScript => "strategy.js",
            Self::Python => "strategy.py",
            Self::Rust => "Cargo.toml",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, UnknownLanguage> {
        let known = Self::ALL.into_iter().find(|language| language.as_str() == text);
        known.ok_or_else(|| UnknownLanguage(text.to_owned()))
    }
}

/// A word that is no language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown language `{0}`: expected rust, c, js or python")]
pub struct UnknownLanguage(pub String);

/// What `strategy.toml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    kind: String,
}

/// A strategy's folder.
#[derive(Clone, Debug)]
pub struct Project {
    dir: PathBuf,
    source: Source,
}

/// What a build goes by.
#[derive(Clone, Debug)]
enum Source {
    C(Bound),
    JavaScript(Bound),
    Python(Bound),
    /// Cargo knows the rest.
    Rust,
}

/// Sources for which we generate bindings.
#[derive(Clone, Debug)]
struct Bound {
    name: String,
    kind: Kind,
}

/// Where a build may write.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// For generated files and intermediate results, one folder per project.
    pub scratch: PathBuf,
    /// For tools from npm and PyPI; projects may share it, one build at a time.
    pub tools: PathBuf,
}

/// A component, built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The strategy's name.
    pub name: String,
    /// What it was written in.
    pub language: Language,
    /// The file.
    pub component: PathBuf,
    /// Its size.
    pub bytes: usize,
}

/// Builds the project in `dir` into `out/<name>.wasm`; generated files and tools go to `dir/build`.
pub fn build_project(dir: &Path, out: &Path) -> Result<Built, Error> {
    let scratch = dir.join("build");
    Project::open(dir)?.build(&Workshop { tools: scratch.join("tools"), scratch }, out)
}

impl Project {
    /// Looks what is in `dir`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::NotAProject { dir: dir.to_owned(), what };
        let found: Vec<Language> =
            Language::ALL.into_iter().filter(|language| dir.join(language.marker()).is_file()).collect();
        let language = match found.as_slice() {
            [language] => *language,
            [] => {
                let markers = Language::ALL.map(Language::marker).join(", ");
                return Err(wrong(format!("no strategy here: expected one of {markers}")));
            }
            several => {
                let markers: Vec<&str> = several.iter().map(|language| language.marker()).collect();
                return Err(wrong(format!("{} are all here: expected one of them", markers.join(" and "))));
            }
        };
        let source = match language {
            Language::C => Source::C(Bound::read(dir)?),
            Language::JavaScript => Source::JavaScript(Bound::read(dir)?),
            Language::Python => Source::Python(Bound::read(dir)?),
            Language::Rust => Source::Rust,
        };
        Ok(Self { dir: dir.canonicalize().map_err(Error::file("find", dir))?, source })
    }

    /// What it is written in.
    pub fn language(&self) -> Language {
        match self.source {
            Source::C(_) => Language::C,
            Source::JavaScript(_) => Language::JavaScript,
            Source::Python(_) => Language::Python,
            Source::Rust => Language::Rust,
        }
    }

    /// Builds it into `out/<name>.wasm`, which imports nothing but the contract.
    pub fn build(&self, workshop: &Workshop, out: &Path) -> Result<Built, Error> {
        toolchain::require(self.language())?;
        let (name, component) = match &self.source {
            Source::C(Bound { name, kind }) => {
                (name.clone(), c::build(&self.dir, *kind, &workshop.scratch()?)?)
            }
            Source::JavaScript(Bound { name, kind }) => {
                let component = javascript::build(&self.dir, *kind, &workshop.scratch()?, &workshop.tools)?;
                (name.clone(), component)
            }
            Source::Python(Bound { name, kind }) => {
                let component = python::build(&self.dir, *kind, &workshop.scratch()?, &workshop.tools)?;
                (name.clone(), component)
            }
            Source::Rust => rust::build_package(&self.dir)?,
        };
        let path = out.join(format!("{name}.wasm"));
        let beyond: Vec<String> =
            imports(&component)?.into_iter().filter(|import| !adapt::is_contract(import)).collect();
        if !beyond.is_empty() {
            return Err(Error::WouldNotLoad { component: path, imports: beyond });
        }
        output::write_if_changed(&path, &component)?;
        Ok(Built { name, language: self.language(), component: path, bytes: component.len() })
    }
}

impl Bound {
    fn read(dir: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::NotAProject { dir: dir.to_owned(), what };
        let path = dir.join("strategy.toml");
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let Manifest { name, kind } =
            toml::from_str(&text).map_err(|why| wrong(format!("strategy.toml: {why}")))?;
        check_name(&name)?;
        let kind = kind.parse().map_err(|why| wrong(format!("strategy.toml: {why}")))?;
        Ok(Self { name, kind })
    }
}

impl Workshop {
    /// The folder for generated files, made and by its full name: tools run elsewhere.
    fn scratch(&self) -> Result<PathBuf, Error> {
        fs::create_dir_all(&self.scratch).map_err(Error::file("create", &self.scratch))?;
        self.scratch.canonicalize().map_err(Error::file("find", &self.scratch))
    }
}

/// Whether a strategy can be called so: the rule of cargo packages and of the contract's examples.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let words_are_fine = name.split('-').all(|word| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    });
    if words_are_fine && name.len() <= 64 && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(Error::Name(name.to_owned()))
    }
}
