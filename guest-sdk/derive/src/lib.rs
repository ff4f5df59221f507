//! Derives a strategy's settings, their choices and its state; `enid-guest` re-exports all three.
//!
//! It reads declarations and writes implementations of `enid_guest`'s traits; it never decides what a setting
//! means. What it cannot derive it refuses in one sentence that says what would be right, all problems of a
//! declaration together, and at the tokens that they are about.
//!
//! * `settings`: a struct whose fields are keys. `choice`: an enum whose variants are words.
//! * `state`: a versioned struct of bytes. `declaration`: what the three have in common.

mod choice;
mod declaration;
mod settings;
mod state;

use proc_macro::TokenStream;

/// Derives `Settings`, and `Default`, for a struct with named fields: each field is a key that operators set.
///
/// Every field has a doc comment, which becomes its description, and `#[setting(…)]`:
///
/// * `default = …`: what it is when it is left out. Not for an `Option`, which is `None` then.
/// * `range = A..=B`: for `u32`, `u64`, `i64`, and required there.
/// * `max_bytes = N`: for `String`, and required there.
/// * `nested`: the field is another `Settings` struct, and its keys follow the field's name and a dot.
///
/// A `bool` needs only its default. Any other type is an enum that derives `Choice`, or `Placement`.
#[proc_macro_derive(Settings, attributes(setting))]
pub fn derive_settings(input: TokenStream) -> TokenStream {
    declaration::derive(input.into(), settings::expand, settings::stand_in).into()
}

/// Derives `Choice` for an enum without data: its variants are words in a setting, in kebab case.
#[proc_macro_derive(Choice)]
pub fn derive_choice(input: TokenStream) -> TokenStream {
    declaration::derive(input.into(), choice::expand, choice::stand_in).into()
}

/// Derives `State` for a struct of integers, `bool`, `Option`, arrays, `Vec` and other `State` structs.
///
/// `#[state(version = N)]` names its layout. Raise it when fields come, go, move or change their type or meaning: bytes of
/// another version are no state, and the strategy starts from the default.
#[proc_macro_derive(State, attributes(state))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    declaration::derive(input.into(), state::expand, state::stand_in).into()
}
