//! Generated from `wit/strategy.wit`.
//!
//! The worlds of the contract all export `plugin`, and `wit-bindgen` would define its export macro once per
//! world, which one crate cannot hold. So each interface is generated from a world of its own here; a
//! strategy exports two of them, and componentising unites them into exactly the contract's world.

/// The types, the import and the export that every kind shares.
pub mod shared {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package enid:guest-shared;
            world shared {
                import enid:strategy/types@0.1.0;
                import enid:strategy/log@0.1.0;
                export enid:strategy/plugin@0.1.0;
            }
        ",
        pub_export_macro: true,
        additional_derives: [PartialEq, Eq],
        generate_all,
    });
}

macro_rules! kind {
    ($module:ident, $world:literal) => {
        /// One kind's interface.
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $world,
                pub_export_macro: true,
                additional_derives: [PartialEq, Eq],
                with: {
                    "enid:strategy/types@0.1.0": crate::bindings::shared::enid::strategy::types,
                },
            });
        }
    };
}

kind!(warm_pool, "package enid:guest-warm-pool; world warm-pool { export enid:strategy/warm-pool@0.1.0; }");
kind!(max_pods, "package enid:guest-max-pods; world max-pods { export enid:strategy/max-pods@0.1.0; }");
kind!(
    subnet_selection,
    "package enid:guest-subnet-selection; world subnet-selection { export enid:strategy/subnet-selection@0.1.0; }"
);
