;; All that is unknown is told at once, with what mends each sort.
(component
  (import "wasi:sockets/tcp@0.2.0" (instance))
  (import "belfry:plugin/teleport@0.1.0" (instance))
  (import "forecast" (func))
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api))
  (export "belfry:plugin/collector@0.1.0" (instance $api)))
