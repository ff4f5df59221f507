//! `#[derive(Settings)]`: a struct whose fields are the keys that an operator can set.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, Expr, Field, Ident, RangeLimits, Result, Type};

use crate::declaration::{Problems, argument, bare, doc, last_segment, named, named_fields};

/// As `quote!`, for local names that must not meet those in the author's expressions.
macro_rules! quote_mixed {
    ($($tokens:tt)*) => { quote_spanned!(Span::mixed_site()=> $($tokens)*) };
}

/// The implementations of `Default` and `Settings`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields =
        named_fields(input, "Settings", "an enum of words derives Choice and is the type of a field")?;
    let mut problems = Problems::default();
    for attribute in named(&input.attrs, "setting") {
        problems.add(attribute, "`#[setting(…)]` belongs on a field");
    }
    let keys: Vec<Key<'_>> = fields.iter().filter_map(|field| problems.keep(Key::of(field))).collect();
    problems.finish(Ok(()))?;

    let name = &input.ident;
    let idents = keys.iter().map(|key| key.ident);
    let defaults = keys.iter().map(Key::default_value);
    let checks = keys.iter().map(Key::checks);
    let entries = keys.iter().map(Key::entry);
    let fields = quote_mixed! {
        fn fields(&mut self) -> ::std::vec::Vec<::enid_guest::settings::Field<'_>> {
            let mut fields = ::std::vec::Vec::new();
            #(#entries)*
            fields
        }
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::core::default::Default for #name {
            fn default() -> Self {
                Self { #(#idents: #defaults),* }
            }
        }

        #[automatically_derived]
        impl ::enid_guest::settings::Settings for #name {
            #fields
        }

        #(#checks)*
    })
}

/// An implementation that only keeps the compiler from complaining that there is none.
pub(crate) fn stand_in(input: &DeriveInput) -> TokenStream {
    let name = &input.ident;
    let (parameters, arguments, bounds) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters ::core::default::Default for #name #arguments #bounds {
            fn default() -> Self {
                ::core::unreachable!()
            }
        }

        #[automatically_derived]
        impl #parameters ::enid_guest::settings::Settings for #name #arguments #bounds {
            fn fields(&mut self) -> ::std::vec::Vec<::enid_guest::settings::Field<'_>> {
                ::std::vec::Vec::new()
            }
        }
    }
}

/// A field, understood.
struct Key<'a> {
    ident: &'a Ident,
    /// As the operator writes it.
    name: String,
    about: String,
    leads_to: Target<'a>,
}

/// What a key leads to.
enum Target<'a> {
    /// The keys of another struct of settings.
    Table,
    /// A value that may be unset, of the type within the `Option`.
    Optional(Domain<'a>),
    /// A value with a default.
    Required(Domain<'a>, Expr),
}

/// Which values are right.
enum Domain<'a> {
    Flag,
    Integer { ty: &'a Type, least: Expr, most: Expr },
    Text { max_bytes: Expr },
    Words(&'a Type),
}

impl<'a> Key<'a> {
    fn of(field: &'a Field) -> Result<Self> {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(field, "a setting is a field with a name"));
        };
        let attribute = Attribute::of(field)?;
        let about = doc(&field.attrs);
        let name = ident.unraw().to_string();
        if let Some(nested) = &attribute.nested {
            attribute.refuse_beside(nested)?;
            return Ok(Self { ident, name, about, leads_to: Target::Table });
        }
        let mut problems = Problems::default();
        if about.is_empty() {
            problems.add(ident, format!("say in a doc comment what `{name}` does: operators read it"));
        }
        let leads_to = problems.finish(Target::of(ident, &field.ty, attribute))?;
        Ok(Self { ident, name, about, leads_to })
    }

    /// What the field is when nothing is set.
    fn default_value(&self) -> TokenStream {
        match &self.leads_to {
            Target::Table => quote!(::core::default::Default::default()),
            Target::Optional(_) => quote!(::core::option::Option::None),
            Target::Required(Domain::Text { .. }, default) => quote!(::std::string::String::from(#default)),
            Target::Required(Domain::Flag | Domain::Integer { .. } | Domain::Words(_), default) => {
                default.to_token_stream()
            }
        }
    }

    /// The lines that add this field to the list of fields.
    fn entry(&self) -> TokenStream {
        let Self { ident, name, about, leads_to } = self;
        match leads_to {
            Target::Table => quote_mixed! {
                fields.extend(::enid_guest::settings::Field::of_table(#name, &mut self.#ident));
            },
            Target::Optional(domain) | Target::Required(domain, _) => {
                let allowed = domain.allowed();
                quote_mixed! {
                    fields.push(::enid_guest::settings::Field::new(#name, #about, #allowed, &mut self.#ident));
                }
            }
        }
    }

    /// What the compiler can check of ranges and defaults, so that nobody has to run anything for it.
    fn checks(&self) -> TokenStream {
        let name = &self.name;
        let checks = match &self.leads_to {
            Target::Optional(Domain::Integer { ty, least, most }) => range_checks(name, ty, least, most),
            Target::Required(Domain::Integer { ty, least, most }, default) => {
                let range = range_checks(name, ty, least, most);
                let message = format!("the default of `{name}` lies outside its range");
                let fits = assert_at(default, &quote_mixed!(least <= default && default <= most), &message);
                quote_mixed!(#range let default: #ty = #default; #fits)
            }
            Target::Required(Domain::Text { max_bytes }, default) => {
                let message = format!("the default of `{name}` is longer than its max_bytes");
                let fits = assert_at(default, &quote_mixed!(default.len() <= most), &message);
                quote_mixed!(let most: usize = #max_bytes; let default: &str = #default; #fits)
            }
            Target::Table
            | Target::Optional(Domain::Flag | Domain::Text { .. } | Domain::Words(_))
            | Target::Required(Domain::Flag | Domain::Words(_), _) => return TokenStream::new(),
        };
        quote!(const _: () = { #checks };)
    }
}

/// Defines `least` and `most`, and asserts what makes them a range of settings.
fn range_checks(name: &str, ty: &Type, least: &Expr, most: &Expr) -> TokenStream {
    let empty = format!("the range of `{name}` is empty");
    let empty = assert_at(least, &quote_mixed!(least <= most), &empty);
    let beyond = format!("the range of `{name}` ends beyond i64::MAX, the most that a setting can be");
    let beyond = assert_at(most, &quote_mixed!(most as i128 <= i64::MAX as i128), &beyond);
    quote_mixed!(let least: #ty = #least; let most: #ty = #most; #empty #beyond)
}

/// An assertion that the compiler reports at an expression of the author's.
fn assert_at(expr: &Expr, holds: &TokenStream, message: &str) -> TokenStream {
    quote_spanned!(Span::mixed_site().located_at(expr.span())=> ::core::assert!(#holds, #message);)
}

impl<'a> Target<'a> {
    fn of(ident: &Ident, ty: &'a Type, attribute: Attribute) -> Result<Self> {
        let optional = last_segment(ty).filter(|segment| segment.ident == "Option").and_then(argument);
        let Some(inner) = optional else {
            let (domain, default) = Domain::of(ident, ty, attribute)?;
            let Some(default) = default else {
                let message = format!(
                    "say what `{ident}` is when it is left out, with `#[setting(default = …)]`, or make it an Option"
                );
                return Err(Error::new_spanned(ident, message));
            };
            return Ok(Self::Required(domain, default));
        };
        let (domain, default) = Domain::of(ident, inner, attribute)?;
        if let Some(default) = default {
            let message = "an Option is None when it is left out: drop the default, or the Option";
            return Err(Error::new_spanned(default, message));
        }
        Ok(Self::Optional(domain))
    }
}

impl<'a> Domain<'a> {
    /// The domain of a type, and the default in the attribute.
    fn of(ident: &Ident, ty: &'a Type, attribute: Attribute) -> Result<(Self, Option<Expr>)> {
        let ty = bare(ty);
        let Some(segment) = last_segment(ty) else {
            return Err(refuse(ty, "a setting is one value"));
        };
        let Attribute { default, range, max_bytes, nested: _ } = attribute;
        let name = segment.ident.to_string();
        let domain = match name.as_str() {
            "bool" => Self::Flag,
            "u32" | "u64" | "i64" => {
                let Some(range) = &range else {
                    let message = format!("say which numbers make sense for `{ident}`: `range = 0..=100`");
                    return Err(Error::new_spanned(ident, message));
                };
                let (least, most) = ends(range)?;
                Self::Integer { ty, least, most }
            }
            "String" => {
                let Some(max_bytes) = max_bytes.clone() else {
                    let message = format!("say how long `{ident}` can be: `max_bytes = 64`");
                    return Err(Error::new_spanned(ident, message));
                };
                Self::Text { max_bytes }
            }
            "u8" | "u16" | "usize" => return Err(refuse(ty, "take u32, and a range")),
            "i8" | "i16" | "i32" | "isize" | "u128" | "i128" => {
                return Err(refuse(ty, "take i64, and a range"));
            }
            "f32" | "f64" => {
                return Err(refuse(ty, "take u32 and a smaller unit, such as percent or milliseconds"));
            }
            "char" | "str" => return Err(refuse(ty, "take String, and max_bytes")),
            "Duration" | "SystemTime" | "Instant" => {
                return Err(refuse(
                    ty,
                    "take u64 and put the unit into the name, as in `release_after_secs`",
                ));
            }
            "Vec" | "VecDeque" | "HashMap" | "HashSet" | "BTreeMap" | "BTreeSet" | "Box" | "Rc" | "Arc" => {
                return Err(refuse(ty, "a setting is one value"));
            }
            "Option" => return Err(refuse(ty, "one Option is enough")),
            _ => Self::Words(ty),
        };
        let mut problems = Problems::default();
        if let Some(range) = range.filter(|_| !matches!(domain, Self::Integer { .. })) {
            problems.add(range, format!("a range is for u32, u64 and i64, not for {name}"));
        }
        if let Some(max_bytes) = max_bytes.filter(|_| !matches!(domain, Self::Text { .. })) {
            problems.add(max_bytes, format!("max_bytes is for String, not for {name}"));
        }
        problems.finish(Ok((domain, default)))
    }

    /// The expression that makes an `Allowed`.
    fn allowed(&self) -> TokenStream {
        let path = quote!(::enid_guest::settings::Allowed);
        match self {
            Self::Flag => quote!(#path::Flag),
            Self::Integer { ty, least, most } => quote_mixed! {{
                let least: #ty = #least;
                let most: #ty = #most;
                #path::Integer { least: least as i64, most: most as i64 }
            }},
            Self::Text { max_bytes } => quote!(#path::Text { max_bytes: #max_bytes }),
            Self::Words(ty) => {
                let words = quote_spanned!(ty.span()=> <#ty as ::enid_guest::settings::Choice>::WORDS);
                quote!(#path::Words(#words))
            }
        }
    }
}

/// The ends of an inclusive range.
fn ends(range: &Expr) -> Result<(Expr, Expr)> {
    let wants = "write both ends of the range, the last one included: `range = 0..=100`";
    let refused = || Error::new_spanned(range, wants);
    let Expr::Range(range) = range else { return Err(refused()) };
    match (&range.start, &range.limits, &range.end) {
        (Some(least), RangeLimits::Closed(_), Some(most)) => {
            Ok((least.as_ref().clone(), most.as_ref().clone()))
        }
        (Some(_) | None, RangeLimits::Closed(_) | RangeLimits::HalfOpen(_), Some(_) | None) => Err(refused()),
    }
}

fn refuse(ty: &Type, instead: &str) -> Error {
    let known =
        "a setting is a u32, u64, i64, bool, String, an enum that derives Choice, or an Option of these";
    Error::new_spanned(ty, format!("{instead}: {known}"))
}

/// What `#[setting(…)]` says.
#[derive(Default)]
struct Attribute {
    default: Option<Expr>,
    range: Option<Expr>,
    max_bytes: Option<Expr>,
    nested: Option<Ident>,
}

impl Attribute {
    fn of(field: &Field) -> Result<Self> {
        let mut found = Self::default();
        for attribute in named(&field.attrs, "setting") {
            attribute.parse_nested_meta(|meta| found.take(&meta))?;
        }
        Ok(found)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let unknown = "unknown attribute: a setting takes `default`, `range`, `max_bytes` or `nested`";
        let name = meta.path.get_ident().ok_or_else(|| meta.error(unknown))?;
        let (slot, example) = match name.to_string().as_str() {
            "default" => (&mut self.default, "default = 1"),
            "range" => (&mut self.range, "range = 0..=100"),
            "max_bytes" => (&mut self.max_bytes, "max_bytes = 64"),
            "nested" => {
                self.nested = Some(name.clone());
                return Ok(());
            }
            _ => return Err(meta.error(unknown)),
        };
        if slot.is_some() {
            return Err(meta.error(format!("`{name}` is given twice")));
        }
        if !meta.input.peek(syn::Token![=]) {
            return Err(meta.error(format!("`{name}` wants a value: `{example}`")));
        }
        *slot = Some(meta.value()?.parse()?);
        Ok(())
    }

    /// A table takes its defaults and ranges from its own fields.
    fn refuse_beside(&self, nested: &Ident) -> Result<()> {
        if self.default.is_none() && self.range.is_none() && self.max_bytes.is_none() {
            return Ok(());
        }
        Err(Error::new_spanned(
            nested,
            "`nested` stands alone: defaults and ranges are those of the nested struct",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declaration::tests::complaints;

    /// What is said about a struct with this one field, which has a doc comment.
    fn of_field(field: TokenStream) -> Vec<String> {
        complaints(expand, quote!(struct Knobs { #[doc = " A knob."] #field }))
    }

    #[test]
    fn every_type_that_a_setting_can_have_is_taken() {
        let knobs: DeriveInput = syn::parse_quote! {
            struct Knobs {
                /// A.
                #[setting(default = 1, range = 0..=9)]
                a: u32,
                /// B.
                #[setting(range = -MOST..=MOST)]
                b: Option<i64>,
                /// C.
                #[setting(default = false)]
                c: bool,
                /// D.
                #[setting(default = "x", max_bytes = 64)]
                d: String,
                /// E.
                #[setting(default = Placement::Pack)]
                e: wire::Placement,
                /// F.
                f: ::std::option::Option<Placement>,
                #[setting(nested)]
                g: Weights,
            }
        };
        assert!(expand(&knobs).is_ok());
    }

    #[test]
    fn fields_that_are_no_setting_are_refused_with_what_would_be() {
        let known =
            "a setting is a u32, u64, i64, bool, String, an enum that derives Choice, or an Option of these";
        for (ty, instead) in [
            (quote!(f64), "take u32 and a smaller unit, such as percent or milliseconds"),
            (quote!(Option<f32>), "take u32 and a smaller unit, such as percent or milliseconds"),
            (quote!(usize), "take u32, and a range"),
            (quote!(i32), "take i64, and a range"),
            (quote!(char), "take String, and max_bytes"),
            (quote!(Duration), "take u64 and put the unit into the name, as in `release_after_secs`"),
            (quote!(Vec<u32>), "a setting is one value"),
            (quote!((u32, u32)), "a setting is one value"),
            (quote!(&'static str), "a setting is one value"),
            (quote!(Option<Option<u32>>), "one Option is enough"),
        ] {
            assert_eq!(of_field(quote!(#[setting(default = 1)] knob: #ty)), [format!("{instead}: {known}")]);
        }
    }

    #[test]
    fn what_a_type_needs_is_asked_for() {
        for (field, message) in [
            (
                quote!(#[setting(range = 0..=9)] knob: u32),
                "say what `knob` is when it is left out, with `#[setting(default = …)]`, or make it an Option",
            ),
            (
                quote!(knob: bool),
                "say what `knob` is when it is left out, with `#[setting(default = …)]`, or make it an Option",
            ),
            (
                quote!(#[setting(default = 1)] knob: u64),
                "say which numbers make sense for `knob`: `range = 0..=100`",
            ),
            (quote!(knob: Option<i64>), "say which numbers make sense for `knob`: `range = 0..=100`"),
            (quote!(#[setting(default = "")] knob: String), "say how long `knob` can be: `max_bytes = 64`"),
        ] {
            assert_eq!(of_field(field), [message]);
        }
    }

    #[test]
    fn what_a_type_cannot_have_is_refused() {
        for (field, message) in [
            (
                quote!(#[setting(default = true, range = 0..=1)] knob: bool),
                "a range is for u32, u64 and i64, not for bool",
            ),
            (
                quote!(#[setting(default = 1, range = 0..=9, max_bytes = 4)] knob: u32),
                "max_bytes is for String, not for u32",
            ),
            (
                quote!(#[setting(default = Some(1), range = 0..=9)] knob: Option<u32>),
                "an Option is None when it is left out: drop the default, or the Option",
            ),
            (
                quote!(#[setting(nested, default = 1)] knob: Weights),
                "`nested` stands alone: defaults and ranges are those of the nested struct",
            ),
        ] {
            assert_eq!(of_field(field), [message]);
        }
    }

    #[test]
    fn attributes_that_say_something_else_are_refused() {
        for (attribute, message) in [
            (
                quote!(defualt = 1),
                "unknown attribute: a setting takes `default`, `range`, `max_bytes` or `nested`",
            ),
            (
                quote!(serde::default),
                "unknown attribute: a setting takes `default`, `range`, `max_bytes` or `nested`",
            ),
            (quote!(default = 1, default = 2), "`default` is given twice"),
            (quote!(default), "`default` wants a value: `default = 1`"),
            (quote!(default = 1, range(0, 9)), "`range` wants a value: `range = 0..=100`"),
            (
                quote!(default = 1, range = 0..9),
                "write both ends of the range, the last one included: `range = 0..=100`",
            ),
            (
                quote!(default = 1, range = ..=9),
                "write both ends of the range, the last one included: `range = 0..=100`",
            ),
            (
                quote!(default = 1, range = 9),
                "write both ends of the range, the last one included: `range = 0..=100`",
            ),
        ] {
            assert_eq!(of_field(quote!(#[setting(#attribute)] knob: u32)), [message], "{attribute}");
        }
    }

    #[test]
    fn fields_without_a_word_for_the_operator_are_refused() {
        assert_eq!(
            complaints(
                expand,
                quote!(
                    struct Knobs {
                        #[setting(default = true)]
                        knob: bool,
                    }
                )
            ),
            ["say in a doc comment what `knob` does: operators read it"]
        );
    }

    #[test]
    fn all_problems_of_a_struct_are_reported_together() {
        let knobs = quote! {
            #[setting(default = 1)]
            struct Knobs {
                #[setting(default = 1, range = 0..=9)]
                silent: u32,
                /// A share.
                #[setting(default = 0.5)]
                share: f64,
                knob: bool,
            }
        };
        let complaints = complaints(expand, knobs);
        let starts = [
            "`#[setting(…)]` belongs",
            "say in a doc",
            "take u32 and a smaller",
            "say in a doc",
            "say what `knob`",
        ];
        assert_eq!(complaints.len(), starts.len(), "{complaints:?}");
        for (complaint, start) in complaints.iter().zip(starts) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
    }

    #[test]
    fn other_shapes_than_structs_with_names_are_refused() {
        for (declaration, message) in [
            (
                quote!(
                    struct Knobs(u32);
                ),
                "Settings is derived for a struct with named fields: give each of these a name",
            ),
            (
                quote!(
                    struct Knobs;
                ),
                "Settings is derived for a struct with named fields: write `struct Knobs {}`",
            ),
            (
                quote!(
                    enum Knobs {
                        A(u32),
                    }
                ),
                "Settings is derived for a struct with named fields: an enum of words derives Choice and is the type of a field",
            ),
            (
                quote!(
                    struct Knobs<'a, T> {
                        knob: &'a T,
                    }
                ),
                "Settings is derived for one type at a time: write out what the parameters stand for",
            ),
        ] {
            assert_eq!(complaints(expand, declaration), [message]);
        }
    }
}
