;; A max-pods component around a core module that a test supplies.
;;
;; The module gets memory 0 and `$emit`, and exports `realloc`, `describe`, `check-settings`, `decide` and
;; `post-decide` in the canonical ABI of `enid:strategy@0.1.0`.
(component
  (import "enid:strategy/log@0.1.0" (instance $log
    (type $l (enum "debug" "info" "warn"))
    (export "level" (type $level (eq $l)))
    (export "emit" (func (param "level" $level) (param "message" string)))))

  ;; Types of exported functions must have names, so every record is exported.
  (type $value' (variant (case "flag" bool) (case "int" s64) (case "text" string)))
  (export $value "value" (type $value'))
  (type $setting' (record (field "key" string) (field "value" $value)))
  (export $setting "setting" (type $setting'))
  (type $context' (record
    (field "sequence" u64) (field "now-ms" u64) (field "wall-secs" u64) (field "seed" (tuple u32 u32))
    (field "settings" (list $setting)) (field "state" (list u8)) (field "hints" (list $setting))))
  (export $context "context" (type $context'))
  (type $mode' (enum "secondary-ip" "prefix"))
  (export $mode "mode" (type $mode'))
  (type $outcome' (record
    (field "reason" string) (field "next-check-ms" (option u64)) (field "state" (list u8))
    (field "annotations" (list $setting))))
  (export $outcome "outcome" (type $outcome'))
  (type $failure' (variant (case "settings" string) (case "unsupported" string) (case "internal" string)))
  (export $failure "failure" (type $failure'))
  (type $descriptor' (record
    (field "name" string) (field "version" string) (field "summary" string) (field "settings-schema" string)
    (field "state-format" u32)))
  (export $descriptor "descriptor" (type $descriptor'))
  (type $issue' (record (field "key" string) (field "message" string)))
  (export $issue "issue" (type $issue'))
  (type $snapshot' (record
    (field "context" $context) (field "mode" $mode) (field "instance-type" string) (field "max-enis" u32)
    (field "ipv4-per-eni" u32) (field "prefixes" bool) (field "vcpus" u32) (field "memory-mib" u64)
    (field "custom-networking" bool) (field "reserved-enis" u32) (field "uncapped" bool)))
  (export $snapshot "snapshot" (type $snapshot'))
  (type $proposal' (record (field "target" u32) (field "outcome" $outcome)))
  (export $proposal "proposal" (type $proposal'))

  (core module $libc (memory (export "memory") 4))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias export $log "emit" (func $log-emit))
  (core func $emit (canon lower (func $log-emit) (memory $memory)))
  (core module $guest
    (import "libc" "memory" (memory 1))
    (import "log" "emit" (func $emit (param i32 i32 i32)))
    {{guest}}
  )
  (core instance $guest (instantiate $guest
    (with "libc" (instance $libc))
    (with "log" (instance (export "emit" (func $emit))))))

  (alias core export $guest "realloc" (core func $realloc))
  (alias core export $guest "describe" (core func $describe'))
  (alias core export $guest "check-settings" (core func $check-settings'))
  (alias core export $guest "decide" (core func $decide'))
  (alias core export $guest "post-decide" (core func $post-decide))
  (func $describe (result $descriptor) (canon lift (core func $describe') (memory $memory) (realloc $realloc)))
  (func $check-settings (param "settings" (list $setting)) (result (list $issue))
    (canon lift (core func $check-settings') (memory $memory) (realloc $realloc)))
  (func $decide (param "snapshot" $snapshot) (result (result $proposal (error $failure)))
    (canon lift (core func $decide') (memory $memory) (realloc $realloc) (post-return $post-decide)))
  (instance $plugin (export "describe" (func $describe)) (export "check-settings" (func $check-settings)))
  (instance $max-pods (export "decide" (func $decide)))
  (export "enid:strategy/plugin@0.1.0" (instance $plugin))
  (export "enid:strategy/max-pods@0.1.0" (instance $max-pods))
  {{beside}}
)
