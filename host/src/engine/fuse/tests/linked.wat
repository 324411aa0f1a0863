;; A small component of the shape that componentize-py makes: libraries that share a
;; memory and a table, whose bases are imported globals. `;;@name` marks where the tests
;; put more.
(component
  (import "measure" (func $measure (param "text" string) (result u32)))
  (import "tick" (func $tick (result u32)))
  ;;@component

  ;; Stands in for functions that need the memory, until they exist.
  (core module $shim
    (type $text (func (param i32 i32) (result i32)))
    (table (export "$imports") 1 1 funcref)
    (func (export "0") (type $text)
      local.get 0 local.get 1 i32.const 0 call_indirect (type $text)))

  ;; The memory, the table, the bases, and functions that hand on through the table.
  (core module $env
    (type $unary (func (param i32) (result i32)))
    (memory (export "memory") 1)
    (table $table (export "table") 12 funcref)
    (global (export "stack") (mut i32) (i32.const 4096))
    (global (export "unused") (mut i32) (i32.const 77))
    (global (export "got") (mut i32) (i32.const 0x300))
    (global (export "a:memory-base") i32 (i32.const 0x100))
    (global (export "a:table-base") i32 (i32.const 1))
    (global (export "b:memory-base") i32 (i32.const 0x200))
    (global (export "b:table-base") i32 (i32.const 5))
    (global (export "wide") i64 (i64.const 0x123456789))
    (global (export "half") f64 (f64.const 0.5))
    (global (export "single") f32 (f32.const 1.5))
    (func (export "b:triple") (type $unary)
      local.get 0 i32.const 6 call_indirect (type $unary))
    (func (export "b:again") (type $unary)
      local.get 0 i32.const 9 call_indirect (type $unary))
    ;;@env
    (data (i32.const 0x10) "shared")
    (data (i32.const 0x12) "r"))

  (core module $a
    (type $unary (func (param i32) (result i32)))
    (import "env" "memory" (memory 1))
    (import "env" "table" (table $table 4 funcref))
    (import "env" "stack" (global $stack (mut i32)))
    (import "env" "memory-base" (global $memory-base i32))
    (import "env" "table-base" (global $table-base i32))
    (import "env" "wide" (global $wide i64))
    (import "env" "half" (global $half f64))
    (import "env" "single" (global $single f32))
    (import "GOT.mem" "buffer" (global $buffer (mut i32)))
    (import "env" "triple" (func $triple (type $unary)))
    (import "env" "again" (func $again (type $unary)))
    (import "shim" "measure" (func $measure (param i32 i32) (result i32)))
    (import "outside" "tick" (func $tick (result i32)))
    ;;@a-import
    (global $own i32 (i32.add (global.get $memory-base) (i32.const 8)))
    (global $calls (mut i32) (i32.const 0))
    ;;@a-global
    (elem $first (global.get $table-base) func $double $double)
    ;;@a-elem
    (func $double (export "double") (type $unary) local.get 0 i32.const 2 i32.mul)
    (func $run (export "run") (param $x i32) (result i32)
      (local $sum i32)
      ;; A stack frame, a call count, a pointer from the global offset table.
      (global.set $stack (i32.sub (global.get $stack) (i32.const 16)))
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store (global.get $stack) (local.get $x))
      (i32.store (global.get $buffer) (i32.const 0x64636261))
      (local.set $sum (i32.load (global.get $stack)))
      ;; Through the table, through one that hands on, directly.
      (local.set $sum (i32.add (local.get $sum)
        (call_indirect (type $unary) (local.get $x) (i32.add (global.get $table-base) (i32.const 1)))))
      (local.set $sum (i32.add (local.get $sum) (call $triple (local.get $x))))
      (local.set $sum (i32.add (local.get $sum) (call $again (i32.load8_u (global.get $own)))))
      ;; From outside, with and without the memory.
      (local.set $sum (i32.add (local.get $sum) (call $measure (global.get $buffer) (i32.const 4))))
      (local.set $sum (i32.add (local.get $sum) (call $tick)))
      (local.set $sum (i32.add (local.get $sum) (i32.wrap_i64 (global.get $wide))))
      (local.set $sum (i32.add (local.get $sum) (i32.trunc_f64_s (f64.mul (global.get $half) (f64.const 10)))))
      (local.set $sum (i32.add (local.get $sum) (i32.trunc_f32_s (f32.mul (global.get $single) (f32.const 4)))))
      ;; A block with a type of its own.
      (local.get $sum)
      (block (type $unary) i32.const 1 i32.add)
      (local.set $sum)
      ;;@run
      (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 0x10))))
      (local.set $sum (i32.add (local.get $sum) (global.get $calls)))
      (global.set $stack (i32.add (global.get $stack) (i32.const 16)))
      (local.get $sum)))

  (core module $b
    (type $unary (func (param i32) (result i32)))
    (import "env" "memory" (memory 0))
    (import "env" "table" (table 0 funcref))
    (import "env" "memory-base" (global $memory-base i32))
    (import "env" "table-base" (global $table-base i32))
    (import "a" "double" (func $double (type $unary)))
    ;;@b-import
    (elem (global.get $table-base) func $triple $triple)
    (elem (i32.add (global.get $table-base) (i32.const 4)) func $weigh)
    (func $triple (type $unary)
      local.get 0 local.get 0 call $double i32.add)
    (func $weigh (type $unary)
      local.get 0 global.get $memory-base i32.load8_u i32.add)
    ;;@b
  )

  ;; What initialised the libraries once. Nothing can call it any more.
  (core module $init
    (import "env" "unused" (global $unused (mut i32)))
    (import "env" "got" (global $got (mut i32)))
    (import "env" "double" (func $double (param i32) (result i32)))
    ;;@init
    (func (global.set $unused (i32.const 1))
      (global.set $got (call $double (i32.const 0x500))))
  )

  (core module $fixup
    (import "" "0" (func $measure (param i32 i32) (result i32)))
    (import "" "$imports" (table 1 1 funcref))
    (elem (i32.const 0) func $measure)
    ;;@fixup
  )
  ;;@module

  (core instance $shim (instantiate $shim))
  (core instance $env (instantiate $env))
  (core func $tick (canon lower (func $tick)))
  (core instance $a-env
    (export "memory" (memory $env "memory"))
    (export "table" (table $env "table"))
    (export "stack" (global $env "stack"))
    (export "memory-base" (global $env "a:memory-base"))
    (export "table-base" (global $env "a:table-base"))
    (export "wide" (global $env "wide"))
    (export "half" (global $env "half"))
    (export "single" (global $env "single"))
    (export "triple" (func $env "b:triple"))
    (export "again" (func $env "b:again")))
  (core instance $a (instantiate $a
    (with "env" (instance $a-env))
    (with "GOT.mem" (instance (export "buffer" (global $env "got"))))
    (with "shim" (instance (export "measure" (func $shim "0"))))
    ;;@a-with
    (with "outside" (instance (export "tick" (func $tick))))))
  (core instance $b-env
    (export "memory" (memory $env "memory"))
    (export "table" (table $env "table"))
    (export "memory-base" (global $env "b:memory-base"))
    (export "table-base" (global $env "b:table-base")))
  (core instance $b (instantiate $b
    ;;@b-with
    (with "env" (instance $b-env))
    (with "a" (instance $a))))
  (core func $measure (canon lower (func $measure) (memory $env "memory")))
  (core instance $fixup (instantiate $fixup
    (with "" (instance
      (export "0" (func $measure))
      ;;@fixup-with
      (export "$imports" (table $shim "$imports"))))))
  (core instance $init (instantiate $init
    (with "env" (instance
      (export "unused" (global $env "unused"))
      (export "got" (global $env "got"))
      (export "double" (func $a "double"))
      ;;@init-with
    ))))
  ;;@instance
  (func (export "run") (param "x" u32) (result u32)
    (canon lift (core func $a "run")))
)
