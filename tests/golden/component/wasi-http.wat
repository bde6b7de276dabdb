;; As Rust for `wasm32-wasip2` or a JavaScript bundler may make it.
(component
  (import "belfry:plugin/log@0.1.0" (instance))
  (import "wasi:http/outgoing-handler@0.2.0" (instance))
  (import "wasi:cli/environment@0.2.0" (instance))
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api))
  (export "belfry:plugin/collector@0.1.0" (instance $api)))
