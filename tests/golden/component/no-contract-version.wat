;; Built against a copy of the contract without its version.
(component
  (instance $api)
  (export "belfry:plugin/plugin" (instance $api))
  (export "belfry:plugin/collector" (instance $api)))
