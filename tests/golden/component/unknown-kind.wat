;; A kind of a later Belfry.
(component
  (instance $api)
  (export "belfry:plugin/plugin@0.1.0" (instance $api))
  (export "belfry:plugin/detector@0.1.4" (instance $api)))
