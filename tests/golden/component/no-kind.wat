;; It can be configured, but there is nothing to ask it.
(component
  (import "belfry:plugin/log@0.1.0" (instance))
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api)))
