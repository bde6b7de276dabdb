;; It needs another component, which was not put into it.
(component
  (import "acme:weather/forecast@1.0.0" (instance))
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api))
  (export "belfry:plugin/collector@0.1.0" (instance $api)))
