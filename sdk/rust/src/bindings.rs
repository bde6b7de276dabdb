//! The contract's bindings: one world for everything a plugin may import, one for each kind it may export.
//!
//! Each export world is taken into a component only by its own `export!` line, and an import only when it is called:
//! so a component asks for exactly what it uses.
//! Not here: anything written by hand.
#![allow(missing_docs, unsafe_code, unused_imports, clippy::all)]

/// What a plugin may call.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "
            package belfry:sdk-imports;
            world imports {
                import belfry:plugin/types@0.1.0;
                import belfry:plugin/sink@0.1.0;
                import belfry:plugin/log@0.1.0;
                import belfry:plugin/clock@0.1.0;
                import belfry:plugin/random@0.1.0;
                import belfry:plugin/kv@0.1.0;
                import belfry:plugin/http@0.1.0;
                import belfry:plugin/system@0.1.0;
                import belfry:plugin/query@0.1.0;
                import belfry:plugin/net@0.1.0;
                import belfry:plugin/mail@0.1.0;
            }
        ",
        generate_all,
        additional_derives: [PartialEq],
    });
}

/// `describe` and `configure`.
pub mod base {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package belfry:sdk-base; world base { export belfry:plugin/plugin@0.1.0; }",
        with: {
            "belfry:plugin/types@0.1.0": crate::bindings::imports::belfry::plugin::types,
            "belfry:plugin/sink@0.1.0": crate::bindings::imports::belfry::plugin::sink,
        },
        pub_export_macro: true,
        export_macro_name: "__export_base",
        default_bindings_module: "belfry_sdk::bindings::base",
    });
}

/// The kind `collector`.
pub mod collector {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package belfry:sdk-collector; world collector { export belfry:plugin/collector@0.1.0; }",
        with: {
            "belfry:plugin/types@0.1.0": crate::bindings::imports::belfry::plugin::types,
        },
        pub_export_macro: true,
        export_macro_name: "__export_collector",
        default_bindings_module: "belfry_sdk::bindings::collector",
        additional_derives: [PartialEq],
    });
}

/// The kind `metric-source`.
pub mod metric_source {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package belfry:sdk-metric-source; world metric-source { export belfry:plugin/metric-source@0.1.0; }",
        with: {
            "belfry:plugin/types@0.1.0": crate::bindings::imports::belfry::plugin::types,
        },
        pub_export_macro: true,
        export_macro_name: "__export_metric_source",
        default_bindings_module: "belfry_sdk::bindings::metric_source",
        additional_derives: [PartialEq],
    });
}

/// The kind `alert-handler`.
pub mod alert_handler {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package belfry:sdk-alert-handler; world alert-handler { export belfry:plugin/alert-handler@0.1.0; }",
        with: {
            "belfry:plugin/types@0.1.0": crate::bindings::imports::belfry::plugin::types,
        },
        pub_export_macro: true,
        export_macro_name: "__export_alert_handler",
        default_bindings_module: "belfry_sdk::bindings::alert_handler",
        additional_derives: [PartialEq],
    });
}

/// The kind `report-handler`.
pub mod report_handler {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package belfry:sdk-report-handler; world report-handler { export belfry:plugin/report-handler@0.1.0; }",
        with: {
            "belfry:plugin/types@0.1.0": crate::bindings::imports::belfry::plugin::types,
        },
        pub_export_macro: true,
        export_macro_name: "__export_report_handler",
        default_bindings_module: "belfry_sdk::bindings::report_handler",
        additional_derives: [PartialEq],
    });
}

/// The kind `report-section`.
pub mod report_section {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package belfry:sdk-report-section; world report-section { export belfry:plugin/report-section@0.1.0; }",
        with: {
            "belfry:plugin/types@0.1.0": crate::bindings::imports::belfry::plugin::types,
        },
        pub_export_macro: true,
        export_macro_name: "__export_report_section",
        default_bindings_module: "belfry_sdk::bindings::report_section",
        additional_derives: [PartialEq],
    });
}
