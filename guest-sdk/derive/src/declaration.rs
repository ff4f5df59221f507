//! What the derives have in common: reading a declaration and collecting everything that is wrong with it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Field, Fields, GenericArgument, Lit, Meta, PathArguments,
    PathSegment, Result, Token, Type,
};

/// The implementation of a declaration, or its errors with an implementation to stand in: without one the
/// compiler would also complain, at length, that there is none.
pub(crate) fn derive(
    input: TokenStream,
    expand: fn(&DeriveInput) -> Result<TokenStream>,
    stand_in: fn(&DeriveInput) -> TokenStream,
) -> TokenStream {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    expand(&input).unwrap_or_else(|error| {
        let (errors, stand_in) = (error.into_compile_error(), stand_in(&input));
        quote!(#errors #stand_in)
    })
}

/// Everything wrong with a declaration.
#[derive(Default)]
pub(crate) struct Problems(Option<Error>);

impl Problems {
    /// A problem with these tokens.
    pub(crate) fn add(&mut self, at: impl ToTokens, message: impl std::fmt::Display) {
        self.push(Error::new_spanned(at, message));
    }

    /// A problem found elsewhere.
    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// What went well, or what did not and is noted here.
    pub(crate) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// What the last step gave, unless something was wrong before it.
    pub(crate) fn finish<T>(self, last: Result<T>) -> Result<T> {
        match (self.0, last) {
            (None, last) => last,
            (Some(problems), Ok(_)) => Err(problems),
            (Some(mut problems), Err(error)) => {
                problems.combine(error);
                Err(problems)
            }
        }
    }
}

/// The fields of a struct with named fields and no parameters.
pub(crate) fn named_fields<'a>(
    input: &'a DeriveInput,
    derived: &str,
    for_an_enum: &str,
) -> Result<&'a Punctuated<Field, Token![,]>> {
    refuse_parameters(input, derived)?;
    let wants = format!("{derived} is derived for a struct with named fields");
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(&fields.named),
            Fields::Unnamed(fields) => {
                Err(Error::new_spanned(fields, format!("{wants}: give each of these a name")))
            }
            Fields::Unit => {
                Err(Error::new_spanned(&input.ident, format!("{wants}: write `struct {} {{}}`", input.ident)))
            }
        },
        Data::Enum(data) => Err(Error::new_spanned(data.enum_token, format!("{wants}: {for_an_enum}"))),
        Data::Union(data) => Err(Error::new_spanned(data.union_token, format!("{wants}: make this one"))),
    }
}

/// What a host hands over has no parameters.
pub(crate) fn refuse_parameters(input: &DeriveInput, derived: &str) -> Result<()> {
    if input.generics.params.is_empty() {
        return Ok(());
    }
    let message =
        format!("{derived} is derived for one type at a time: write out what the parameters stand for");
    Err(Error::new_spanned(&input.generics, message))
}

/// The attributes of this name.
pub(crate) fn named<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a Attribute> {
    attributes.iter().filter(move |attribute| attribute.path().is_ident(name))
}

/// A doc comment as one line.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let mut words: Vec<String> = Vec::new();
    for attribute in named(attributes, "doc") {
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        let Expr::Lit(value) = &pair.value else { continue };
        if let Lit::Str(text) = &value.lit {
            words.extend(text.value().split_whitespace().map(str::to_owned));
        }
    }
    words.join(" ")
}

/// The last segment of a plain type path: what a type is called.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    let Type::Path(path) = bare(ty) else { return None };
    path.path.segments.last()
}

/// The only argument of a type such as `Option<T>`.
pub(crate) fn argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(ty)) if arguments.args.len() == 1 => Some(ty),
        Some(_) | None => None,
    }
}

/// A type without the invisible or superfluous parentheses around it.
pub(crate) fn bare(mut ty: &Type) -> &Type {
    loop {
        if let Type::Group(group) = ty {
            ty = &group.elem;
        } else if let Type::Paren(paren) = ty {
            ty = &paren.elem;
        } else {
            return ty;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What `expand` says about a declaration that it refuses, message by message.
    pub(crate) fn complaints(
        expand: fn(&DeriveInput) -> Result<TokenStream>,
        declaration: TokenStream,
    ) -> Vec<String> {
        let input = syn::parse2(declaration).expect("a declaration");
        let error = expand(&input).expect_err("a declaration that is refused");
        error.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn doc_comments_of_several_lines_become_one() {
        let input: DeriveInput = syn::parse_quote! {
            /// Addresses to hold
            /// ready.
            ///
            /// No more.
            struct A {}
        };
        assert_eq!(doc(&input.attrs), "Addresses to hold ready. No more.");
    }

    #[test]
    fn a_refused_declaration_still_has_an_implementation_to_stand_in() {
        let tokens = quote!(
            struct A(u32);
        );
        let out = derive(tokens, crate::settings::expand, crate::settings::stand_in).to_string();
        assert!(out.contains("compile_error !"), "{out}");
        assert!(out.contains("Settings for A"), "{out}");
    }
}
