//! `#[derive(Choice)]`: an enum whose variants are words.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt as _;
use syn::{Data, DeriveInput, Error, Result};

use crate::declaration::{Problems, refuse_parameters};

/// The implementation of `Choice`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    refuse_parameters(input, "Choice")?;
    let Data::Enum(data) = &input.data else {
        let message = "Choice is derived for an enum: each variant is a word that the operator can write";
        return Err(Error::new_spanned(&input.ident, message));
    };
    let mut problems = Problems::default();
    let mut words: Vec<String> = Vec::new();
    for variant in &data.variants {
        if !variant.fields.is_empty() {
            problems.add(
                &variant.fields,
                format!(
                    "a choice is a word and carries nothing: make `{}` a setting of its own",
                    variant.ident
                ),
            );
        }
        let word = kebab(&variant.ident.unraw().to_string());
        if words.contains(&word) {
            problems
                .add(&variant.ident, format!("another variant is written `{word}` too: rename one of them"));
        }
        words.push(word);
    }
    if data.variants.is_empty() {
        problems.add(&input.ident, "a choice needs at least one variant");
    }
    problems.finish(Ok(()))?;

    let name = &input.ident;
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    Ok(quote! {
        #[automatically_derived]
        impl ::enid_guest::settings::Choice for #name {
            const WORDS: &'static [&'static str] = &[#(#words),*];

            fn word(&self) -> &'static str {
                match self {
                    #(Self::#variants { .. } => #words,)*
                }
            }

            fn from_word(word: &str) -> ::core::option::Option<Self> {
                match word {
                    #(#words => ::core::option::Option::Some(Self::#variants {}),)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    })
}

/// An implementation that only keeps the compiler from complaining that there is none.
pub(crate) fn stand_in(input: &DeriveInput) -> TokenStream {
    let name = &input.ident;
    let (parameters, arguments, bounds) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters ::enid_guest::settings::Choice for #name #arguments #bounds {
            const WORDS: &'static [&'static str] = &[];
            fn word(&self) -> &'static str {
                ""
            }
            fn from_word(_: &str) -> ::core::option::Option<Self> {
                ::core::option::Option::None
            }
        }
    }
}

/// `MostFree` as `most-free`, `IPAddress` as `ip-address`.
fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let after = letters.get(index + 1);
        let starts_a_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if *letter == '_' {
            out.push('-');
        } else {
            if starts_a_word && !out.ends_with('-') {
                out.push('-');
            }
            out.extend(letter.to_lowercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declaration::tests::complaints;

    #[test]
    fn variants_are_written_in_kebab_case() {
        for (variant, word) in [
            ("Pack", "pack"),
            ("MostFree", "most-free"),
            ("IPAddress", "ip-address"),
            ("Ipv4Only", "ipv4-only"),
            ("Under_Score", "under-score"),
            ("A", "a"),
        ] {
            assert_eq!(kebab(variant), word);
        }
    }

    #[test]
    fn variants_with_data_are_refused() {
        assert_eq!(
            complaints(
                expand,
                quote!(
                    enum Order {
                        MostFree,
                        Random(u32),
                        Named { by: u8 },
                    }
                )
            ),
            [
                "a choice is a word and carries nothing: make `Random` a setting of its own",
                "a choice is a word and carries nothing: make `Named` a setting of its own",
            ]
        );
    }

    #[test]
    fn words_that_mean_two_variants_are_refused() {
        assert_eq!(
            complaints(
                expand,
                quote!(
                    enum Order {
                        MostFree,
                        Most_Free,
                    }
                )
            ),
            ["another variant is written `most-free` too: rename one of them"]
        );
    }

    #[test]
    fn structs_empty_enums_and_parameters_are_refused() {
        assert_eq!(
            complaints(
                expand,
                quote!(
                    struct Order;
                )
            ),
            ["Choice is derived for an enum: each variant is a word that the operator can write"]
        );
        assert_eq!(
            complaints(
                expand,
                quote!(
                    enum Order {}
                )
            ),
            ["a choice needs at least one variant"]
        );
        assert_eq!(
            complaints(
                expand,
                quote!(
                    enum Order<T> {
                        A(T),
                    }
                )
            ),
            ["Choice is derived for one type at a time: write out what the parameters stand for"]
        );
    }
}
