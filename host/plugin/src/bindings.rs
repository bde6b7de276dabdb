//! The contract `belfry:plugin@0.1.0` as Rust, generated from `wit/0.1.0`.
//!
//! Invariant: the host serves every capability and knows every kind; which of them a component uses is read off the
//! component (`component.rs`), so exports are looked up one interface at a time.
//! Not here: what a capability does (`capabilities/`).

#![allow(missing_docs, unsafe_code, clippy::all)] // generated

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
    inline: "
        package belfry:host;
        world host {
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
            export belfry:plugin/plugin@0.1.0;
            export belfry:plugin/collector@0.1.0;
            export belfry:plugin/metric-source@0.1.0;
            export belfry:plugin/alert-handler@0.1.0;
            export belfry:plugin/report-handler@0.1.0;
            export belfry:plugin/report-section@0.1.0;
        }
    ",
    imports: {
        // Answered at once, on the guest's own stack: no future, no fiber switch.
        "belfry:plugin/sink": trappable,
        "belfry:plugin/log": trappable,
        "belfry:plugin/clock": trappable,
        "belfry:plugin/random": trappable,
        default: async,
    },
    exports: { default: async },
    with: {
        "belfry:plugin/http.body-stream": crate::capabilities::http::BodyStream,
    },
});
