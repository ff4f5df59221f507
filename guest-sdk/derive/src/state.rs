//! `#[derive(State)]`: a struct as versioned bytes.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, LitInt, Result, Type};

use crate::declaration::{Problems, argument, bare, last_segment, named, named_fields};

/// The implementations of `StateType` and `State`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input, "State", "keep what it says as an integer")?;
    let mut problems = Problems::default();
    for field in fields {
        for attribute in named(&field.attrs, "state") {
            problems.add(attribute, "`#[state(version = …)]` belongs on the struct: a field has no version");
        }
        if let Err(error) = check(&field.ty) {
            problems.push(error);
        }
    }
    let version = problems.finish(version(input))?;

    let name = &input.ident;
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let writes = fields.iter().map(|field| {
        let (ident, ty) = (&field.ident, &field.ty);
        quote_spanned!(ty.span()=> <#ty as ::enid_guest::state::StateType>::write(&self.#ident, out);)
    });
    let reads = fields.iter().map(|field| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> <#ty as ::enid_guest::state::StateType>::read(bytes)?)
    });
    Ok(quote! {
        #[automatically_derived]
        impl ::enid_guest::state::StateType for #name {
            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                <u16 as ::enid_guest::state::StateType>::write(&#version, out);
                #(#writes)*
            }

            fn read(bytes: &mut &[u8]) -> ::core::option::Option<Self> {
                if <u16 as ::enid_guest::state::StateType>::read(bytes)? != #version {
                    return ::core::option::Option::None;
                }
                ::core::option::Option::Some(Self { #(#idents: #reads),* })
            }
        }

        #[automatically_derived]
        impl ::enid_guest::state::State for #name {
            const FORMAT: u32 = #version as u32;
        }
    })
}

/// An implementation that only keeps the compiler from complaining that there is none.
pub(crate) fn stand_in(input: &DeriveInput) -> TokenStream {
    let name = &input.ident;
    let (parameters, arguments, bounds) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters ::enid_guest::state::StateType for #name #arguments #bounds {
            fn write(&self, _: &mut ::std::vec::Vec<u8>) {}
            fn read(_: &mut &[u8]) -> ::core::option::Option<Self> {
                ::core::option::Option::None
            }
        }

        #[automatically_derived]
        impl #parameters ::enid_guest::state::State for #name #arguments #bounds {
            const FORMAT: u32 = 0;
        }
    }
}

/// The number in `#[state(version = N)]`. Zero is for strategies that remember nothing.
fn version(input: &DeriveInput) -> Result<u16> {
    let mut version = None;
    for attribute in named(&input.attrs, "state") {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("version") {
                return Err(meta.error("unknown attribute: `#[state(…)]` takes `version = 1`"));
            }
            if version.is_some() {
                return Err(meta.error("`version` is given twice"));
            }
            let number: LitInt = meta.value()?.parse()?;
            let parsed = number.base10_parse().ok().filter(|number| *number > 0);
            version = Some(parsed.ok_or_else(|| {
                Error::new_spanned(&number, format!("a version is a number from 1 to {}", u16::MAX))
            })?);
            Ok(())
        })?;
    }
    let missing =
        "say which version of the layout this is, and raise it with every change: `#[state(version = 1)]`";
    version.ok_or_else(|| Error::new_spanned(&input.ident, missing))
}

/// Refuses types of which we know that state cannot hold them; the compiler refuses the rest.
fn check(ty: &Type) -> Result<()> {
    let refuse = |instead: &str| Err(Error::new_spanned(ty, format!("state cannot hold this: {instead}")));
    let plain = bare(ty);
    if let Type::Array(array) = plain {
        return check(&array.elem);
    }
    if let Type::Tuple(_) = plain {
        return refuse("give the parts names, in a struct that derives State too");
    }
    if let Type::Reference(_) = plain {
        return refuse("it outlives the instance, so it owns everything");
    }
    let Some(segment) = last_segment(plain) else {
        return refuse("it holds integers, bool, Option, arrays, Vec and structs that derive State too");
    };
    let name = segment.ident.to_string();
    match name.as_str() {
        "Option" | "Vec" => argument(segment).map_or(Ok(()), check),
        "f32" | "f64" => refuse("count in a smaller unit, such as thousandths, in an integer"),
        "usize" | "isize" => refuse("its size differs between machines, so take u32 or u64"),
        "u128" | "i128" => refuse("take u64 or i64"),
        "char" | "str" | "String" => refuse("remember numbers, or bytes in a Vec<u8>"),
        "HashMap" | "HashSet" | "BTreeMap" | "BTreeSet" | "VecDeque" => {
            refuse("keep a Vec of structs that derive State too")
        }
        "Box" | "Rc" | "Arc" | "Cell" | "RefCell" | "Mutex" => refuse("keep the value itself"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declaration::tests::complaints;

    #[test]
    fn every_fixed_integer_can_be_state() {
        for name in ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"] {
            let ty: Type = syn::parse_str(name).unwrap();
            assert!(check(&ty).is_ok(), "{name}");
        }
    }

    #[test]
    fn state_without_a_version_is_refused() {
        assert_eq!(
            complaints(
                expand,
                quote!(
                    struct Memory {
                        peak: u32,
                    }
                )
            ),
            [
                "say which version of the layout this is, and raise it with every change: `#[state(version = 1)]`"
            ]
        );
    }

    #[test]
    fn versions_that_are_none_are_refused() {
        for (attribute, message) in [
            (quote!(#[state(version = 0)]), "a version is a number from 1 to 65535"),
            (quote!(#[state(version = 65536)]), "a version is a number from 1 to 65535"),
            (quote!(#[state(version = 1, version = 2)]), "`version` is given twice"),
            (quote!(#[state(format = 1)]), "unknown attribute: `#[state(…)]` takes `version = 1`"),
        ] {
            assert_eq!(complaints(expand, quote!(#attribute struct Memory { peak: u32 })), [message]);
        }
    }

    #[test]
    fn all_fields_that_cannot_be_state_are_named_with_what_can() {
        let memory = quote! {
            #[state(version = 1)]
            struct Memory {
                mean: f64,
                count: usize,
                name: Option<String>,
                pairs: Vec<(u32, u32)>,
                seen: HashMap<u32, u32>,
                borrowed: [&'static u8; 2],
                fine: Vec<Option<[Part; 4]>>,
            }
        };
        assert_eq!(
            complaints(expand, memory),
            [
                "state cannot hold this: count in a smaller unit, such as thousandths, in an integer",
                "state cannot hold this: its size differs between machines, so take u32 or u64",
                "state cannot hold this: remember numbers, or bytes in a Vec<u8>",
                "state cannot hold this: give the parts names, in a struct that derives State too",
                "state cannot hold this: keep a Vec of structs that derive State too",
                "state cannot hold this: it outlives the instance, so it owns everything",
            ]
        );
    }

    #[test]
    fn other_shapes_than_structs_with_names_are_refused() {
        for (declaration, message) in [
            (
                quote!(
                    #[state(version = 1)]
                    struct Memory(u32);
                ),
                "State is derived for a struct with named fields: give each of these a name",
            ),
            (
                quote!(
                    #[state(version = 1)]
                    struct Memory;
                ),
                "State is derived for a struct with named fields: write `struct Memory {}`",
            ),
            (
                quote!(
                    #[state(version = 1)]
                    enum Memory {
                        Cold,
                        Warm,
                    }
                ),
                "State is derived for a struct with named fields: keep what it says as an integer",
            ),
            (
                quote!(
                    #[state(version = 1)]
                    struct Memory<T> {
                        last: T,
                    }
                ),
                "State is derived for one type at a time: write out what the parameters stand for",
            ),
            (
                quote!(
                    #[state(version = 1)]
                    struct Memory {
                        #[state(version = 2)]
                        peak: u32,
                    }
                ),
                "`#[state(version = …)]` belongs on the struct: a field has no version",
            ),
        ] {
            assert_eq!(complaints(expand, declaration), [message]);
        }
    }
}
