// Package cluster runs the nodes of an MCP cluster under a supervisor.
//
//	Start      starts the supervisor in the background, or what is missing of a running one
//	Connect    talks to the supervisor of a state directory
//	Stop       takes everything down
//	Supervise  is the supervisor's own process
//	NodeLogs   are the nodes' logs, which package nodelog keeps and prints
//
// There is one supervisor per state directory. It starts each node in a process group of its own, and
// in a cgroup where these are delegated to it, waits for an MCP reply, starts it again when it dies,
// keeps its log, and takes it down. Nodes do not outlive their supervisor, however it ends.
//
// # Life of a node
//
// One goroutine per node owns its state:
//
//	         start              MCP reply         stop
//	stopped ───────▶ starting ────────────▶ ready ─────▶ stopping ──▶ stopped, held
//	   ▲              │  ▲  │                │              ▲
//	   └──────────────┘  │  └──────┬─────────┘              │
//	its first start      │         │ dies                   │
//	    failed           │         ▼                        │
//	                     └─ backoff, crashloop ─────────────┘
//	                  wait over                stop
//
// A node that is ready can also be degraded, when it does not see the others of its kind, or draining,
// before it is stopped; it serves in all three.
//
// A node that was ready once is started again for ever, after 200 ms, 400 ms … 10 s; 30 s of
// readiness forget earlier failures. After five failures in a row the state is called crashloop
// instead of backoff.
package cluster
