;; Its imports are of a later contract than its exports.
(component
  (import "belfry:plugin/http@1.0.0" (instance))
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api))
  (export "belfry:plugin/collector@0.1.0" (instance $api)))
