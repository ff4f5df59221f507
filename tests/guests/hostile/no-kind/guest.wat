;; attacks: admission: it is a component, but no strategy
;; ends in: no-kind
(component)
