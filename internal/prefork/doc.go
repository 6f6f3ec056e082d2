// Package prefork runs work that scales with sockets in several copies of this binary, because the
// limit of open files holds per process and often cannot be raised.
//
//	               ┌───────────────── Pool: one locked OS thread forks, reaps, restarts
//	erlmcp lb serve│   control stream (socketpair, newline JSON)
//	               ├──────────────────▶ erlmcp lb worker   Child 0: board, tcp (its own listener)
//	               ├──────────────────▶ erlmcp lb worker   Child 1
//	               └──────────────────▶ erlmcp lb worker   Child n−1
//
// The parent asks [Copies] how many there must be, opens the listeners with [Listen] and starts a
// [Pool]. A copy calls [Inherit] first. Nothing outlives the parent: on Linux the kernel kills the
// copies when it dies, everywhere their control stream ends.
package prefork
