;; attacks: admission: it is a component, but no strategy
;; ends in: kind: no-kind
(component)
