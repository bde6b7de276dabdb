;; Built against a later contract.
(component
  (instance $api)
  (export "belfry:plugin/plugin@0.2.0" (instance $api))
  (export "belfry:plugin/collector@0.2.0" (instance $api)))
