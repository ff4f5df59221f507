;; A warm-pool component around a core module that a test supplies.
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
  (type $role' (enum "absent" "excluded" "included"))
  (export $role "role-tag" (type $role'))
  (type $cluster' (enum "any" "ours" "foreign"))
  (export $cluster "cluster-tag" (type $cluster'))
  (type $subnet' (record
    (field "free" u32) (field "total" u32) (field "free-blocks" u32) (field "primary" bool)
    (field "role" $role) (field "cluster" $cluster) (field "recent-failures" u32) (field "in-flight" u32)
    (field "enis" u32) (field "hints" (list $setting))))
  (export $subnet "subnet-use" (type $subnet'))
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
  (type $limits' (record
    (field "max-enis" u32) (field "slots-per-eni" u32) (field "addresses-per-slot" u32) (field "prefixes" bool)
    (field "trunk-reserve" u32)))
  (export $limits "limits" (type $limits'))
  (type $phase' (enum "coming" "ready" "leaving"))
  (export $phase "eni-phase" (type $phase'))
  (type $eni' (record
    (field "slot" u16) (field "card" u16) (field "subnet" u16) (field "phase" $phase) (field "primary" bool)
    (field "age-ms" u64) (field "capacity" u32) (field "assigned" u32) (field "free" u32) (field "bound" u32)
    (field "cooling" u32) (field "prefixes" u32) (field "idle-ms" u64)))
  (export $eni "eni-use" (type $eni'))
  (type $block' (record (field "slot" u16) (field "bound" u16) (field "cooling" u16)))
  (export $block "block-use" (type $block'))
  (type $demand' (record
    (field "added" u32) (field "removed" u32) (field "waited" u32) (field "failed" u32) (field "peak" u32)))
  (export $demand "demand" (type $demand'))
  (type $pressure' (record
    (field "throttled" bool) (field "budget-milli" u32) (field "in-flight-enis" u32)
    (field "in-flight-addresses" u32)))
  (export $pressure "pressure" (type $pressure'))
  (type $pods' (record (field "bound" u32) (field "waiting" u32) (field "expected" u32) (field "max" u32)))
  (export $pods "pod-counts" (type $pods'))
  (type $snapshot' (record
    (field "context" $context) (field "mode" $mode) (field "limits" $limits) (field "enis" (list $eni))
    (field "blocks" (list $block)) (field "bucket-ms" u64) (field "history" (list $demand))
    (field "subnets" (list $subnet)) (field "pressure" $pressure) (field "pods" $pods)))
  (export $snapshot "snapshot" (type $snapshot'))
  (type $grain' (enum "address" "prefix" "eni"))
  (export $grain "grain" (type $grain'))
  (type $placement' (enum "pack" "spread"))
  (export $placement "placement" (type $placement'))
  (type $band' (record
    (field "ready-low" u32) (field "ready-high" (option u32)) (field "total-floor" u32) (field "grain" $grain)
    (field "keep-free" u32) (field "release-after-ms" u64) (field "placement" $placement)))
  (export $band "band" (type $band'))
  (type $proposal' (record (field "target" $band) (field "outcome" $outcome)))
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
  (instance $warm-pool (export "decide" (func $decide)))
  (export "enid:strategy/plugin@0.1.0" (instance $plugin))
  (export "enid:strategy/warm-pool@0.1.0" (instance $warm-pool))
  {{beside}}
)
