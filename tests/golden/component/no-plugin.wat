;; A component for something else.
(component
  (instance $api)
  (export "acme:weather/forecast@1.0.0" (instance $api)))
