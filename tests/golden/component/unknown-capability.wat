;; A capability of a later Belfry.
(component
  (import "belfry:plugin/sql@0.1.2" (instance))
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api))
  (export "belfry:plugin/collector@0.1.0" (instance $api)))
